"""Two processes of one thread against one process of two threads: Up-Down VQA at its published size, by turns.

    python scripts/benchmarks/ddp.py                     # some minutes
    python scripts/benchmarks/ddp.py --rounds 3 --steps 10

Files as large as a share of VQA v2 (made_vqa.py), 36 x 2048 regions, hidden 1024, 512 questions a step over both
processes, through `limner train`; items a second from the last line of the run's speed.jsonl: warming up does not
count. What a step adds for two processes is the sum of 25 million gradients over gloo, 100 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import made_vqa
import numpy as np
from full_size import words_for

WAYS = {
    "one process, two threads": ["trainer=cpu", "trainer.threads=2"],
    "two processes, one thread each": ["trainer=ddp_cpu", "trainer.threads=1"],
}


def rate(folder: Path, more: list[str], steps: int) -> float:
    """Items a second of a training of some steps."""
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    words = [*words_for("vqa", folder), *more, f"paths.run='{run}'", "trainer.max_epochs=1", "test_after_fit=false"]
    words += [f"trainer.limit_train_batches={2 * steps}", "trainer.limit_val_batches=2", "data.min_answer_count=1"]
    words += [f"trainer.log_every_n_steps={steps}", "trainer.progress_bar=false"]
    subprocess.run([sys.executable, "-m", "limner", "train", *words], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "speed.jsonl").read_text().splitlines()]
    return lines[-1]["speed/items"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way (default 3)")
    parser.add_argument("--steps", type=int, default=6, help="steps measured, after as many to warm up (default 6)")
    parser.add_argument("--share", type=float, default=0.02, help="share of VQA v2 (default 0.02)")
    options = parser.parse_args()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / made_vqa.FOLDER).mkdir()
        made_vqa.write(folder / made_vqa.FOLDER, np.random.default_rng(0), share=options.share, filled=1000)
        for _ in range(options.rounds):
            for way, more in WAYS.items():
                found[way].append(rate(folder, more, options.steps))
                print(f"{way:<32}{found[way][-1]:8.1f} questions/s", flush=True)
    one, two = (statistics.median(values) for values in found.values())
    print(f"medians {one:.1f} and {two:.1f}: two processes reach {two / one:.2f} of one")


if __name__ == "__main__":
    main()
