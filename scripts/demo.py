"""`make demo`: the toy world; Up-Down VQA, the Up-Down captioner and ViLBERT on it; and what to do next.

Two lanes of trainings run beside each other, one a processor core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from limner.cli import main as limner

REPORTED = ("toy_vqa", "toy_caption_scst", "toy_visdial_dense")


class Lane(threading.Thread):
    """Commands that run one after the other; the first that fails ends the lane.

    Args:
        experiments: name -> the experiment whose latest run the training starts from, or None.
    """

    def __init__(self, experiments: dict[str, str | None]):
        super().__init__(daemon=True)
        self.experiments = experiments
        self.process: subprocess.Popen | None = None
        self.failed: str | None = None

    def run(self) -> None:
        for name, start in self.experiments.items():
            words = ["train", f"experiment={name}"] + ([f"weights={latest(start)}"] if start else [])
            say(f"$ limner {' '.join(words)}")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "limner", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            output, _ = self.process.communicate()
            if self.process.returncode:
                self.failed = f"{output}\nlimner {' '.join(words)}: exit code {self.process.returncode}"
                return
            say(
                "".join(f"  {name}: {line}\n" for line in output.splitlines() if line.startswith("trained in")).rstrip()
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()


def say(text: str) -> None:
    print(text, flush=True)


def step(title: str, arguments: list[str]) -> None:
    """Shows a command as one would type it and runs it."""
    say(f"\n{title}\n$ limner {' '.join(arguments)}")
    code = limner(arguments)
    if code:
        sys.exit(code)


def latest(experiment: str) -> Path:
    """The newest finished run folder of an experiment."""
    return max(Path("outputs", experiment).glob("*/result.json"), key=lambda path: path.stat().st_mtime).parent


def reached(experiment: str, metric: str = "test/score") -> float:
    """A metric of the newest run."""
    return json.loads((latest(experiment) / "result.json").read_text())["metrics"][metric]


def dialog_table() -> list[str]:
    """The dialog models by their metrics, as the papers print them."""
    names = {"ndcg": "NDCG", "mrr": "MRR", "r1": "R@1", "r5": "R@5", "r10": "R@10", "mean_rank": "mean"}
    runs = {"language only": "_language", "base": "", "dense": "_dense"}
    lines = [f"  {'':15s}" + "".join(f"{name:>8s}" for name in names.values())]
    for name, ending in runs.items():
        values = (reached(f"toy_visdial{ending}", f"val/{metric}") for metric in names)
        lines.append(f"  {name:15s}" + "".join(f"{value:8.2f}" for value in values))
    return lines


def main() -> None:
    begin = time.perf_counter()
    step("A world of coloured shapes, with questions, captions, dialogs and regions:", ["data", "toy", "data/toy"])
    say("\nUp-Down VQA and the captioner (cross-entropy, then SCST); beside them ViLBERT on captions, then on dialogs")
    say("(base, then dense); and what is reached without the pictures:")
    lanes = [
        Lane(
            {
                "toy_vqa": None,
                "toy_caption_xe": None,
                "toy_caption_scst": "toy_caption_xe",
                "toy_vqa_question_only": None,
            }
        ),
        Lane(
            {
                "toy_visdial_pretrain_cc": None,
                "toy_visdial": "toy_visdial_pretrain_cc",
                "toy_visdial_dense": "toy_visdial",
                "toy_visdial_language": None,
            }
        ),
    ]
    try:
        for lane in lanes:
            lane.start()
        while any(lane.is_alive() for lane in lanes) and not any(lane.failed for lane in lanes):
            time.sleep(0.2)
    finally:
        for lane in lanes:  # nothing is left behind when one fails or Ctrl-C is pressed
            lane.stop()
    for lane in lanes:
        if lane.failed:
            sys.exit(lane.failed)
    for experiment in REPORTED:
        step(
            "A page with curves, tables and pictures of what the model looked at:", ["report", str(latest(experiment))]
        )
    say("\nOn the test split:")
    say(f"  questions, with the pictures      {reached('toy_vqa'):6.2f} %  (official VQA accuracy)")
    say(f"  questions, without the pictures   {reached('toy_vqa_question_only'):6.2f} %")
    say(f"  captions, cross-entropy           {reached('toy_caption_xe'):6.2f}    (CIDEr-D)")
    say(f"  captions, SCST                    {reached('toy_caption_scst'):6.2f}")
    say("\nDialogs, 500 judged rounds of the val split (the test file hides its answers, as VisDial's does):")
    say("\n".join(dialog_table()))
    say(f"\nAll in {time.perf_counter() - begin:.0f} s. Open in a browser:")
    say("\n".join(f"  {latest(name)}/report.html" for name in REPORTED))
    say("Next, the same models on VQA v2, COCO and VisDial (each says which files it needs):")
    say("  .venv/bin/limner train experiment=vqa_updown_hu\n  .venv/bin/limner train experiment=caption_xe")
    say("  .venv/bin/limner train experiment=visdial")


if __name__ == "__main__":
    main()
