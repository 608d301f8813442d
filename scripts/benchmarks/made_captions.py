"""Files of the size of COCO's captions under Karpathy's names: dataset_coco.json and a feature store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from made_store import write_store
from made_texts import texts
from sizes import CAPTION_LENGTHS

SPLITS = {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}
CAPTIONS, WORDS = 616_767, 27_000
"""captions of all images, and their different words"""
FOLDER = "coco"
TRAIN = ["experiment=caption_xe"]


def write(folder: Path, rng: np.random.Generator, *, share: float, filled: int) -> None:
    """Writes a share of each split into a folder; five captions an image, six for a few."""
    splits = [name for name, count in SPLITS.items() for _ in range(max(round(count * share), 2))]
    captions = max(round(CAPTIONS * share), 5 * len(splits))
    told = iter(texts(captions, CAPTION_LENGTHS, 8, WORDS, rng))
    more = captions - 5 * len(splits)
    with open(folder / "dataset_coco.json", "w") as file:
        file.write('{"images": [')
        sentence = 0
        for place, split in enumerate(splits):
            sentences = []
            for _ in range(6 if place < more else 5):
                text = next(told)
                record = {"tokens": text.split(), "raw": f"{text.capitalize()}.", "imgid": place, "sentid": sentence}
                sentences.append(record)
                sentence += 1
            image = {
                "filepath": "val2014" if split != "train" else "train2014", "sentids": [s["sentid"] for s in sentences],
                "filename": f"COCO_{place + 1:012d}.jpg", "imgid": place, "split": split, "sentences": sentences,
                "cocoid": place + 1,
            }  # fmt: skip
            file.write((", " if place else "") + json.dumps(image))
        file.write('], "dataset": "coco"}')
    write_store(folder / "trainval36.h5", np.arange(1, len(splits) + 1), filled=filled, rng=rng)
