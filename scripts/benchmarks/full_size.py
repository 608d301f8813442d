"""A rehearsal at full size: start-up, memory and throughput on files as large as VQA v2's, COCO's and VisDial's.

    python scripts/benchmarks/full_size.py                       # the three: some minutes, 6 GB of disk for a while
    python scripts/benchmarks/full_size.py vqa --steps 5         # one of them, and five steps of a real training
    python scripts/benchmarks/full_size.py vqa --to data         # keeps the files: data/vqa_v2 is then as if fetched
    python scripts/benchmarks/full_size.py visdial --share 0.02  # a share of every split

The files are in the official formats, under the names that the shipped configs expect, with the published numbers of
images, questions, captions and rounds, lengths of texts as measured (sizes.py) and words by a Zipf law. Feature stores
have their real size; the features of `--filled` images are random numbers, the others' a hole in the file.

Start-up is measured in processes of their own: everything from the composed experiment to its first batch. Memory is
what the process holds itself (RssAnon of Linux); mapped file pages are the system's to take back.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import made_captions
import made_dialogs
import made_vqa
import numpy as np

MAKERS = {"vqa": made_vqa, "captions": made_captions, "visdial": made_dialogs}


def words_for(task: str, folder: Path) -> list[str]:
    """The command line of the experiment on the files in `folder`."""
    return [*MAKERS[task].TRAIN, f"paths.data='{folder}'", f"paths.cache='{folder / 'cache'}'", "logger=files"]


def own_memory() -> float:
    """GB of memory of this process that is not a mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e6
    return float("nan")


def start(task: str, folder: Path, kind: str, batches: int) -> None:
    """One start-up: its seconds; when it came from the cache, also memory and speed while batches are drawn."""
    import torch

    from limner import build
    from limner.preflight import compose

    torch.set_num_threads(1)
    config = compose("train", words_for(task, folder))
    base, begin, spent = own_memory(), time.perf_counter(), time.process_time()
    data = build.build_data(config)
    data.prepare()
    data.fingerprint()
    loader = data.train_dataloader()
    loader.set_epoch(0)
    drawn = iter(loader)
    next(drawn)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{task}: start-up to the first batch, {kind}: {time.perf_counter() - begin:.1f} s ", end="")
    print(f"({time.process_time() - spent:.1f} s of CPU); ", end="")
    print(f"memory {base:.2f} GB before, {own_memory():.2f} GB after, {peak:.2f} GB at most with mapped pages")
    if kind == "cold":
        return
    print(f"{task}: {data.summary()}")
    begin, count, most = time.perf_counter(), 0, 0.0
    for number, batch in zip(range(batches), drawn):
        count += len(batch["id"])
        most = max(most, own_memory()) if number % 10 == 0 else most
    rate = count / (time.perf_counter() - begin)
    print(f"{task}: {rate:,.0f} items/s in batches of {count // batches:,} with their regions, {most:.2f} GB held")


def train(task: str, folder: Path, steps: int) -> None:
    """Some steps of a real training through the command line, validation left out; prints its epoch line."""
    words = [*words_for(task, folder), f"paths.run='{folder / 'run'}'", "trainer.max_epochs=1"]
    words += [f"trainer.limit_train_batches={steps}", "test_after_fit=false"]
    words += ["trainer.limit_val_batches=2", "trainer.progress_bar=false", "callbacks.save_every_minutes=null"]
    shutil.rmtree(folder / "run", ignore_errors=True)
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "limner", "train", *words], check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    print(f"{task}: limner train, {steps} steps: {lines[0]} ({time.perf_counter() - begin:.0f} s in all)")
    shutil.rmtree(folder / "run")


def rehearse(task: str, folder: Path, options: argparse.Namespace) -> None:
    """Writes the files, starts twice, and trains some steps."""
    home = folder / MAKERS[task].FOLDER
    home.mkdir(parents=True, exist_ok=True)
    MAKERS[task].write(home, np.random.default_rng(0), share=options.share, filled=options.filled)
    texts = sum(file.stat().st_size for file in home.glob("*.json")) / 1e6
    print(f"{task}: {texts:,.0f} MB of JSON written", flush=True)
    if options.to:
        return
    for kind in ("cold", "from the cache"):
        told = ["--start", kind, "--to", str(folder), "--batches", str(options.batches)]
        subprocess.run([sys.executable, __file__, task, *told], check=True)
    if options.steps:
        train(task, folder, options.steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="*", choices=[*MAKERS, []], default=[], help="default: all three")
    parser.add_argument("--to", metavar="DIR", type=Path, help="write the files there, keep them, measure nothing")
    parser.add_argument("--share", type=float, default=1.0, help="share of every split (default 1)")
    parser.add_argument("--filled", type=int, default=1000, help="images with random features (default 1000)")
    parser.add_argument("--batches", type=int, default=100, help="training batches drawn (default 100)")
    parser.add_argument("--steps", type=int, default=0, help="steps of a real training, 2 or more (default none)")
    parser.add_argument("--start", choices=["cold", "from the cache"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps == 1:
        parser.error("--steps 1: the trainer would read it as a share; give 2 or more")
    for task in options.task or MAKERS:
        if options.start:
            start(task, options.to, options.start, options.batches)
        elif options.to:
            rehearse(task, options.to, options)
        else:
            with tempfile.TemporaryDirectory() as name:
                rehearse(task, Path(name), options)


if __name__ == "__main__":
    main()
