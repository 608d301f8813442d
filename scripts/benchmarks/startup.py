"""Where the time goes from `limner train experiment=toy_vqa` to the end of its first optimiser step.

    python scripts/benchmarks/startup.py                 # about half a minute
    python scripts/benchmarks/startup.py --repeat 5 --logger files

Each repetition is a fresh process that does what `limner train` does, in its order, and looks at the clocks in between.
The median of each part is printed, in seconds of the wall clock and of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

PARTS = (
    "Python, limner's command line",
    "the configuration, composed and checked",
    "import torch",
    "import pytorch_lightning",
    "import the rest (limner, wandb, tokenizers)",
    "the data: words, answers, features",
    "the model and the task",
    "the trainer and its loggers",
    "to the end of the first step",
)


def measure(words: list[str]) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each part, in this process."""
    marks = [(float(os.environ["LIMNER_BENCHMARK_BEGIN"]), 0.0)]

    def mark() -> None:
        marks.append((time.time(), time.process_time()))

    from limner import preflight
    from limner.cli import sort_arguments

    sort_arguments(words)
    mark()
    config = preflight.compose("train", words)
    mark()
    import torch

    mark()
    import pytorch_lightning as pl

    mark()
    from limner import build
    from limner.run import make_run_folder

    run = make_run_folder(config, words)
    mark()
    data = build.build_data(config)
    data.prepare()
    mark()
    task = build.build_task(config, data, build.build_model(config, data))
    mark()

    class Stop(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            mark()
            raise KeyboardInterrupt  # Lightning ends the training and comes back

    before = build.build_callbacks
    build.build_callbacks = lambda config, run: [*before(config, run), Stop()]
    trainer = build.build_trainer(config, run)
    mark()
    assert torch.is_grad_enabled()
    with suppress(BaseException):
        trainer.fit(task, data)
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes (default 3; one more goes before)")
    parser.add_argument("--logger", default="wandb", help="wandb (the default of limner train, offline) or files")
    parser.add_argument("--scenes", type=int, help="scenes of the toy world (default: the demo's)")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)), flush=True)
        os._exit(0)  # wandb's service must not be waited for
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = ["--scenes", str(options.scenes), "--val", "10", "--test", "10"] if options.scenes else []
        draw = [sys.executable, "-m", "limner", "data", "toy", str(folder / "data/toy"), *size]
        subprocess.run(draw, check=True, stdout=subprocess.DEVNULL)
        words = ["experiment=toy_vqa", f"paths.data={folder / 'data'}", f"paths.outputs={folder / 'outputs'}"]
        words += [f"logger={options.logger}", "data.min_answer_count=1"]
        found = []
        for _ in range(options.repeat + 1):  # the first fills caches
            environment = {**os.environ, "LIMNER_BENCHMARK_BEGIN": str(time.time())}
            command = [sys.executable, __file__, "--child", *words]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'from the command to the first step, seconds':<46}{'wall':>7}{'CPU':>7}")
    for part, title in enumerate(PARTS):
        wall, cpu = (statistics.median(one[part][clock] for one in found[1:]) for clock in (0, 1))
        print(f"{title:<46}{wall:7.2f}{cpu:7.2f}")
    wall, cpu = (statistics.median(sum(p[clock] for p in one) for one in found[1:]) for clock in (0, 1))
    print(f"{'in all':<46}{wall:7.2f}{cpu:7.2f}")


if __name__ == "__main__":
    main()
