"""Tiny captions and questions to pretrain ViLBERT on, regions with and without class probabilities, models for them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tiny_captions
import tiny_vqa
import torch
from tiny_dialog_data import model
from tiny_vqa import drawn

from limner.data.features import FeatureWriter
from limner.data.pairs import CaptionPairs, PairData, QuestionPairs
from limner.schema import visdial_pretraining as schema
from limner.tasks.vilbert_pretraining import PretrainingTask

__all__ = ["data", "drawn", "make_files", "model", "probabilities", "task", "write_classes"]

CLASSES, DIM = 5, tiny_captions.DIM
REGIONS = tiny_captions.REGIONS  # the questions' images too
KINDS = {"captions": CaptionPairs, "questions": QuestionPairs}


def probabilities(image: int, regions: int, classes: int = CLASSES) -> np.ndarray:
    """Class probabilities (regions, classes) float32 that depend on the image."""
    values = np.random.default_rng(image).uniform(0.1, 1, (regions, classes))
    return (values / values.sum(1, keepdims=True)).astype(np.float32)


def write_classes(path: Path, counts: dict[int, int] = REGIONS, *, classes: int | None = CLASSES) -> Path:
    """A feature store of so many regions for each image, with class probabilities unless `classes` is None."""
    with FeatureWriter(path, dim=DIM, extractor="test", classes=classes) as writer:
        for image, regions in counts.items():
            rng = np.random.default_rng(image)
            boxes = np.sort(rng.uniform(0, 90, (regions, 2, 2)), 1).reshape(regions, 4)
            more = {} if classes is None else {"class_probs": probabilities(image, regions, classes)}
            writer.add(image, rng.standard_normal((regions, DIM)), boxes, (100 + image, 90), **more)
    return path


def make_files(folder: Path) -> Path:
    """Captions, questions, `regions.h5` with class probabilities and `plain.h5` without."""
    (folder / "dataset.json").write_text(json.dumps(tiny_captions.karpathy()))
    for split in tiny_vqa.QUESTIONS:
        tiny_vqa.write_split(folder, split)
    write_classes(folder / "regions.h5")
    write_classes(folder / "plain.h5", classes=None)
    return folder


def data(
    folder: Path, kind: str = "captions", *, vocabulary: Any = None, store: str = "regions", **changes: Any
) -> Any:
    """The data module, prepared; words are learned from the texts."""
    settings = schema.CaptionPairs() if kind == "captions" else schema.QuestionPairs()
    chosen = asdict(settings)
    for name in ("_target_", "folder", "made_by", "vocabulary"):
        del chosen[name]
    if kind == "captions":
        chosen["captions"] = {split: str(folder / "dataset.json") for split in ("train", "val", "test")}
        chosen["splits_in_file"] = {"train": ["train", "restval"]}
    else:
        for key in ("questions", "annotations"):
            chosen[key] = {split: str(folder / f"{split}_{key}.json") for split in ("train", "val")}
    chosen |= {"features": [str(folder / f"{store}.h5")], "cache": None, "batch_size": 4, "eval_batch_size": 2}
    chosen |= {"max_regions": None, "mask_words": 0.4, "mask_regions": 0.4, "vocabulary_size": 250}
    made: PairData = KINDS[kind](vocabulary=vocabulary, **{**chosen, **changes})
    made.prepare()
    return made


class Pretraining(PretrainingTask):
    """With a trainer that is not Lightning's."""

    trainer: Any = None


def task(made: PairData, net: torch.nn.Module | None = None, **options: Any) -> Pretraining:
    found = Pretraining(net or model(made), **{**made.task_arguments(), **options})
    found.log = lambda *_, **__: None  # type: ignore[method-assign]
    found.trainer = SimpleNamespace(world_size=1, global_step=0, is_global_zero=True)
    return found
