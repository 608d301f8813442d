"""`make demo`: the toy world, Up-Down VQA on it, the same questions without the pictures, and what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from limner.cli import main as limner


def step(title: str, arguments: list[str]) -> None:
    """Shows a command as one would type it and runs it."""
    print(f"\n{title}\n$ limner {' '.join(arguments)}", flush=True)
    code = limner(arguments)
    if code:
        sys.exit(code)


def latest(experiment: str) -> Path:
    """The newest finished run folder of an experiment."""
    return max(Path("outputs", experiment).glob("*/result.json"), key=lambda path: path.stat().st_mtime).parent


def start(experiment: str, **streams: Any) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "limner", "train", f"experiment={experiment}"], **streams)


def finished(experiment: str, process: subprocess.Popen) -> tuple[Path, float]:
    """Waits for a training; its run folder and the accuracy on the test split."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{output or ''}\nlimner train experiment={experiment}: exit code {process.returncode}")
    run = latest(experiment)
    return run, json.loads((run / "result.json").read_text())["metrics"]["test/score"]


def main() -> None:
    begin = time.perf_counter()
    step("A world of coloured shapes, with questions, captions, dialogs and regions:", ["data", "toy", "data/toy"])
    blind = start("toy_vqa_question_only", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        print("\nUp-Down VQA, with the pictures (and beside it, on the second core, without them):")
        print("$ limner train experiment=toy_vqa\n$ limner train experiment=toy_vqa_question_only", flush=True)
        run, seeing = finished("toy_vqa", start("toy_vqa"))
        _, guessing = finished("toy_vqa_question_only", blind)
    finally:
        blind.kill()  # nothing is left behind when the first one fails or Ctrl-C is pressed
    step("A page with curves, tables and pictures of what the model looked at:", ["report", str(run)])
    print(f"\n  with the pictures      {seeing:6.2f} %  (official VQA accuracy on the test split)")
    print(f"  without the pictures   {guessing:6.2f} %")
    print(f"\nAll in {time.perf_counter() - begin:.0f} s. The run lies in {run}: open {run}/report.html in a browser.")
    print("Next, the same model on VQA v2:  .venv/bin/limner train experiment=vqa_updown_hu  (it says what it needs)")


if __name__ == "__main__":
    main()
