"""Start-up and memory at the size of VisDial 1.0: 123,287 dialogs of ten rounds with 100 options each.

    python scripts/benchmarks/visdial_size.py             # some minutes, 2.5 GB of disk
    python scripts/benchmarks/visdial_size.py --dialogs 2000

A training file of the real size is written in the official format: 376,593 questions and 337,527 answers with lengths
as in VisDial and words by a Zipf law, 123 million options. Word parts are 30,522 whole words. The second start-up finds
the parsed file and the tokenised texts in the cache. Memory is what the process holds itself (RssAnon of Linux); mapped
file pages are the system's to take back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from sizes import DIALOG_ANSWERS, DIALOG_CAPTIONS, DIALOG_OPTIONS, DIALOG_QUESTIONS
from vqa_size import own_memory, write_store

from limner.schema.visdial_data import VisDialData as Settings

DIALOGS, QUESTIONS, ANSWERS, ROUNDS, OPTIONS, WORDS = 123_287, 376_593, 337_527, 10, 100, 30_522


def texts(count: int, lengths: Sequence[int], first: int, rng: np.random.Generator) -> list[str]:
    """Texts of `first`, `first` + 1, ... words, so many of each length as `lengths` says."""
    share = np.array(lengths, float)
    sizes = rng.choice(np.arange(first, first + len(lengths)), count, p=share / share.sum())
    share = 1 / np.arange(3, WORDS - 2)
    words = rng.choice(WORDS - 5, int(sizes.sum()), p=share / share.sum())
    ends = np.cumsum(sizes).tolist()
    names = [f"w{word}" for word in words.tolist()]
    return [" ".join(names[end - size : end]) for end, size in zip(ends, sizes.tolist())]


def write_files(folder: Path, dialogs: int, rng: np.random.Generator) -> None:
    """The dialogs and the vocabulary."""
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(signs + [f"w{word}" for word in range(WORDS - len(signs))]) + "\n")
    share = dialogs / DIALOGS
    questions = texts(max(round(QUESTIONS * share), 1), DIALOG_QUESTIONS, 1, rng)
    wrong = max(round(ANSWERS * share / 2), 2 * OPTIONS)  # the first half; answers given are those of the second
    answers = texts(wrong, DIALOG_OPTIONS, 1, rng) + texts(wrong, DIALOG_ANSWERS, 1, rng)
    captions = texts(dialogs, DIALOG_CAPTIONS, 8, rng)
    with open(folder / "train.json", "w") as file:
        file.write('{"split": "train", "version": "1.0", "data": {"questions": ' + json.dumps(questions))
        file.write(', "answers": ' + json.dumps(answers) + ', "dialogs": [')
        for number, caption in enumerate(captions):
            # half of the options are frequent answers, half are any
            options = rng.integers(0, wrong, (ROUNDS, OPTIONS))
            options[:, ::2] //= 100
            truths = rng.integers(0, OPTIONS, ROUNDS)
            options[np.arange(ROUNDS), truths] = rng.integers(wrong, 2 * wrong, ROUNDS)
            talk = [
                {"answer": chosen[truth], "gt_index": truth, "answer_options": chosen, "question": question}
                for chosen, truth, question in zip(
                    options.tolist(),
                    truths.tolist(),
                    rng.integers(0, len(questions), ROUNDS).tolist(),
                )
            ]
            record = {"image_id": number + 1, "caption": caption, "dialog": talk}
            file.write((", " if number else "") + json.dumps(record))
        file.write("]}}")


def settings(folder: Path) -> dict[str, object]:
    """The keys of the config group `data`, as published."""
    chosen = asdict(Settings())
    for name in ("_target_", "folder", "made_by", "vocabulary"):
        del chosen[name]
    chosen |= {"dialogs": {"train": str(folder / "train.json")}, "features": [str(folder / "f.h5")], "select": "train"}
    return chosen | {"cache": str(folder / "cache")}


def start(folder: Path, kind: str, batches: int) -> None:
    """One start-up: its seconds, and memory while batches are drawn."""
    import torch

    from limner.data.visdial import VisDialData

    torch.set_num_threads(1)
    base, begin, spent = own_memory(), time.perf_counter(), time.process_time()
    data = VisDialData(vocabulary=str(folder / "vocab.txt"), **settings(folder))
    data.prepare()
    loader = data.train_dataloader()
    loader.set_epoch(0)
    drawn = iter(loader)
    next(drawn)
    peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(f"start-up to the first batch, {kind}: {time.perf_counter() - begin:.1f} s ", end="")
    print(f"({time.process_time() - spent:.1f} s of CPU), ", end="")
    print(
        f"own memory {base:.2f} GB before, {own_memory():.2f} GB after, {int(peak[0].split()[1]) / 1e6:.2f} GB at most"
    )
    if kind == "cold":
        return
    print(data.summary())
    begin, count = time.perf_counter(), 0
    for _, batch in zip(range(batches), drawn):
        count += len(batch["tokens"])
    print(f"{batches} batches of 80: {count / (time.perf_counter() - begin):,.0f} sequences/s with their regions")
    print(f"own memory: {own_memory():.2f} GB with the data and the loader")


def run(dialogs: int, batches: int, folder: Path) -> None:
    """Writes the files, then starts twice, each time in a process of its own."""
    write_files(folder, dialogs, np.random.default_rng(0))
    write_store(folder / "f.h5", dialogs)
    print(f"{dialogs:,} dialogs, {(folder / 'train.json').stat().st_size / 1e6:,.0f} MB", flush=True)
    for kind in ("cold", "cached"):
        command = [sys.executable, __file__, "--start", kind, "--folder", str(folder), "--batches", str(batches)]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogs", type=int, default=DIALOGS, help=f"dialogs written (default {DIALOGS})")
    parser.add_argument("--batches", type=int, default=100, help="training batches drawn (default 100)")
    parser.add_argument("--start", choices=["cold", "cached"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        start(options.folder, options.start, options.batches)
        return
    with tempfile.TemporaryDirectory() as name:
        run(options.dialogs, options.batches, Path(name))


if __name__ == "__main__":
    main()
