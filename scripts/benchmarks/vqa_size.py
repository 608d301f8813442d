"""Start-up and memory at the size of VQA v2: 443,757 questions about 82,783 images of 36 x 2048.

    python scripts/benchmarks/vqa_size.py                 # about 2 minutes, 1 GB of disk

Question and annotation files of the real size are written in the official format, with lengths as in VQA v2 and words
and answers by a Zipf law. The feature store has the real 12.2 GB layout, but is a sparse file: its zeros take no disk.
Memory is what the process holds itself (RssAnon of Linux); mapped file pages are the system's to take back.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from sizes import QUESTION_LENGTHS

from limner.data.vqa import VQAData

QUESTIONS, IMAGES, REGIONS, DIM, WORDS, ANSWERS = 443_757, 82_783, 36, 2048, 19_901, 3_129


def write_files(folder: Path, rng: np.random.Generator) -> None:
    """The official question and annotation files."""
    share = np.array(QUESTION_LENGTHS, float)
    lengths = rng.choice(np.arange(3, 15), QUESTIONS, p=share / share.sum())
    share = 1 / np.arange(3, WORDS + 3)
    words = rng.choice(WORDS, int(lengths.sum()), p=share / share.sum())
    words[:WORDS] = np.arange(WORDS)  # every word occurs
    share = 1 / np.arange(1, ANSWERS * 4 + 1)
    best = rng.choice(ANSWERS * 4, QUESTIONS, p=share / share.sum())
    images = np.sort(rng.integers(0, IMAGES, QUESTIONS))
    images[:IMAGES] = np.arange(IMAGES)
    ends = np.cumsum(lengths)
    kinds = ("yes/no", "number", "other")
    with open(folder / "q.json", "w") as questions, open(folder / "a.json", "w") as annotations:
        questions.write('{"questions": [')
        annotations.write('{"annotations": [')
        for k in range(QUESTIONS):
            comma = ", " if k else ""
            text = " ".join(f"w{w}" for w in words[ends[k] - lengths[k] : ends[k]])
            key = {"image_id": int(images[k]) + 1, "question_id": k}
            questions.write(comma + json.dumps({**key, "question": text + "?"}))
            people = [f"answer {best[k] if rng.random() < 0.7 else rng.integers(ANSWERS * 8)}" for _ in range(10)]
            record = {"question_type": "what is", "multiple_choice_answer": f"answer {best[k]}", **key}
            record["answers"] = [
                {"answer": said, "answer_confidence": "yes", "answer_id": n} for n, said in enumerate(people, 1)
            ]
            annotations.write(comma + json.dumps({**record, "answer_type": kinds[k % 3]}))
        questions.write("]}")
        annotations.write("]}")


def write_store(path: Path, images: int = IMAGES) -> None:
    """A store of the real shape whose features are a hole in the file."""
    rows = images * REGIONS
    with h5py.File(path, "w", alignment_threshold=4096, alignment_interval=4096) as file:
        for name, shape, kind in (("features", (rows, DIM), "f2"), ("boxes", (rows, 4), "f4")):
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, dcpl=layout)
        file["offsets"] = np.arange(0, rows + 1, REGIONS, dtype="i8")
        file["image_id"] = np.arange(1, images + 1, dtype="i8")
        file["size"] = np.full((images, 2), 640, "i4")
        file["row_hash"] = np.zeros(images, "u8")
        file.attrs.update({"schema": 1, "extractor": "none", "provenance": "{}", "complete": True})


def own_memory() -> float:
    """GB of memory of this process that is not a mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e6
    return float("nan")


def run(batches: int) -> None:
    """Prints start-up seconds, cold and from the cache, and memory while batches are drawn."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, np.random.default_rng(0))
        write_store(folder / "f.h5")
        settings = {
            "questions": {"train": str(folder / "q.json")}, "annotations": {"train": str(folder / "a.json")},
            "features": [str(folder / "f.h5")], "fit": ["train"], "select": "train", "test": None,
            "words_from": ["train"], "answers_from": ["train"], "answers_file": None, "min_answer_count": 9,
            "normalize_answers": True, "question_length": 14, "unknown_words": "skip", "max_regions": 36, "glove": None,
            "answer_images": None, "visual_genome": None, "visual_genome_images": None, "batch_size": 512,
            "eval_batch_size": 1024, "group_by_image": False, "resident": False, "limit": None,
            "cache": str(folder / "cache"), "seed": 1,
        }  # fmt: skip
        base = own_memory()
        for kind in ("cold", "from the cache"):
            begin = time.perf_counter()
            data = VQAData(**settings)
            data.prepare()
            print(f"start-up, {kind}: {time.perf_counter() - begin:.1f} s", flush=True)
        print(data.summary())
        loader = data.train_dataloader()
        loader.set_epoch(0)
        begin, peak, seen = time.perf_counter(), 0.0, 0
        for number, batch in enumerate(loader):
            seen += len(batch["id"])
            peak = max(peak, own_memory())
            if number + 1 == batches:
                break
        seconds = time.perf_counter() - begin
        print(f"{batches} batches of 512: {seen / seconds:,.0f} questions/s with their regions, drawn alone")
        print(f"own memory: {base:.2f} GB with torch imported, {peak:.2f} GB at most with the data and the loader")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100, help="training batches drawn (default 100)")
    run(parser.parse_args().batches)


if __name__ == "__main__":
    main()
