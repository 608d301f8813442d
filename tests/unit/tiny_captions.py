"""A tiny caption data set for tests: a Karpathy file of four splits, a feature store, settings to read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data.captions import CaptionData
from limner.data.features import FeatureWriter
from limner.schema.captions_data import CaptionData as Settings

DIM = 6
REGIONS = {12: 1, 10: 2, 11: 4, 13: 2, 20: 3, 21: 2, 30: 1}  # image -> regions
SAID = {  # split -> image -> captions, in the order of the file
    "train": {
        12: ["A red dog.", "A dog, and a ball.", "Red dog."],
        10: ["A cat on a mat.", "The cat sits."],
        11: ["A blue ball.", "A ball!", "The ball is on the mat.", "Ball."],
    },
    "restval": {13: ["A dog on a red mat."]},
    "val": {21: ["A red ball.", "A zebra."], 20: ["The dog sits on a mat."]},
    "test": {30: ["A cat."]},
}
TRAINED = {**SAID["train"], **SAID["restval"]}
"""What `settings` trains on."""
WORDS = ("a", "ball", "dog", "mat", "on", "red", "the", "cat", "and", "blue", "is", "sits")  # of train and restval
"""By count, then by the alphabet."""


def spoken(raw: str) -> list[str]:
    """The words of these simple captions."""
    return raw.lower().translate(str.maketrans("", "", ".,!")).split()


def karpathy(said: dict[str, dict[int, list[str]]] = SAID, *, id_field: str = "cocoid") -> dict[str, Any]:
    """The contents of a Karpathy file."""
    images = [
        {
            "filename": f"COCO_val2014_{image:012d}.jpg",
            "split": split,
            id_field: image,
            "sentences": [{"tokens": spoken(raw), "raw": raw} for raw in captions],
        }
        for split, shown in said.items()
        for image, captions in shown.items()
    ]
    return {"images": images, "dataset": "tiny"}


def coco(shown: dict[int, list[str]]) -> dict[str, Any]:
    """The contents of a COCO caption file; annotations of different images are mixed, as in the official ones."""
    longest = max(map(len, shown.values()))
    mixed = [(image, captions[k]) for k in range(longest) for image, captions in shown.items() if k < len(captions)]
    return {
        "info": {"year": 2014},
        "images": [{"id": image, "file_name": f"COCO_val2014_{image:012d}.jpg"} for image in shown],
        "licenses": [],
        "annotations": [{"image_id": image, "id": k, "caption": raw} for k, (image, raw) in enumerate(mixed)],
    }


def write_store(
    path: Path, counts: dict[int, int], *, dim: int = DIM, extractor: str = "test", seed: int = 0, sizes: bool = True
) -> Path:
    """A feature store with so many regions for each image; the numbers depend on the seed and the image."""
    with FeatureWriter(path, dim=dim, extractor=extractor, provenance={"seed": seed}) as writer:
        for image, regions in counts.items():
            rng = np.random.default_rng([seed, image])
            boxes = np.sort(rng.uniform(0, 90, (regions, 2, 2)), 1).reshape(regions, 4)
            writer.add(image, rng.standard_normal((regions, dim)), boxes, (100 + image, 90) if sizes else (0, 0))
    return path


def make_files(folder: Path) -> Path:
    """`dataset.json` and `regions.h5`."""
    (folder / "dataset.json").write_text(json.dumps(karpathy()))
    write_store(folder / "regions.h5", REGIONS)
    return folder


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The config group `data` for these files, with changes."""
    chosen = asdict(Settings())
    del chosen["_target_"], chosen["folder"], chosen["made_by"]
    chosen["captions"] = {split: str(folder / "dataset.json") for split in ("train", "val", "test")}
    chosen["splits_in_file"] = {"train": ["train", "restval"]}
    chosen["features"] = [str(folder / "regions.h5")]
    chosen |= {"min_count": 1, "captions_per_image": None, "cache": None, "batch_size": 2, "eval_batch_size": 2}
    return {**chosen, **changes}


def data(folder: Path, *, vocabulary: Any = None, **changes: Any) -> CaptionData:
    """The data module, prepared."""
    made = CaptionData(vocabulary=vocabulary, **settings(folder, **changes))
    made.prepare()
    return made


def drawn(loader: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All batches, copied out of the loader's memory, which is used again."""
    return [{k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()} for batch in loader]


def said_in(batch, vocabulary) -> dict[int, list[str]]:
    """Image -> captions of a batch, as words."""
    found: dict[int, list[str]] = {image: [] for image in batch["id"].tolist()}
    for row, tokens in zip(batch["image"].tolist(), batch["tokens"].tolist()):
        found[batch["id"][row].item()].append(vocabulary.decode(tokens))
    return found
