"""A tiny VQA data set for tests: official files of two splits, a feature store for each, settings to read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data.features import FeatureWriter
from limner.data.vqa import VQAData
from limner.data.vqa_files import write_annotations, write_questions
from limner.schema.vqa import VQAData as Settings

DIM = 6
IMAGES = {"train": {10: 2, 11: 4, 12: 1}, "val": {20: 3, 21: 2}}  # image -> regions
QUESTIONS = {  # question id, image, question, most common answer, the tenth person's answer
    "train": [
        (100, 12, "Is it red?", "yes", "no"),
        (101, 10, "What colour is it?", "red", "Red."),
        (102, 11, "Is it blue?", "no", "no"),
        (103, 12, "What colour is the ball?", "blue", "a red one"),
        (104, 10, "Is it a ball?", "yes", "yes"),
        (105, 11, "How many?", "2", "two"),
        (106, 12, "Is it blue?", "no", "maybe"),
    ],
    "val": [
        (200, 21, "Is it red?", "yes", "no"),
        (201, 20, "What colour is it today?", "green", "green"),
        (202, 21, "How many?", "2", "3"),
    ],
}


def write_store(path: Path, counts: dict[int, int], *, dim: int = DIM, extractor: str = "test", seed: int = 0) -> Path:
    """A feature store with so many regions for each image; the numbers depend on the seed and the image."""
    with FeatureWriter(path, dim=dim, extractor=extractor, provenance={"seed": seed}) as writer:
        for image, regions in counts.items():
            rng = np.random.default_rng([seed, image])
            boxes = np.sort(rng.uniform(0, 90, (regions, 2, 2)), 1).reshape(regions, 4)
            writer.add(image, rng.standard_normal((regions, dim)), boxes, (100 + image, 90))
    return path


def write_split(folder: Path, split: str, records: list[tuple[int, int, str, str, str]] | None = None) -> None:
    """The official question and annotation files of a split."""
    records = QUESTIONS[split] if records is None else records
    asked = [{"question_id": q, "image_id": i, "question": text} for q, i, text, _, _ in records]
    write_questions(folder / f"{split}_questions.json", asked)
    annotations = []
    for q, i, text, most, last in records:
        kind = {"yes": "yes/no", "no": "yes/no", "2": "number"}.get(most, "other")
        answers = [{"answer": answer, "answer_id": k + 1} for k, answer in enumerate([most] * 9 + [last])]
        annotation = {"question_id": q, "image_id": i, "answers": answers, "multiple_choice_answer": most}
        annotations.append({**annotation, "answer_type": kind, "question_type": " ".join(text.lower().split()[:2])})
    write_annotations(folder / f"{split}_annotations.json", annotations)


def make_files(folder: Path) -> Path:
    """Both splits and their stores."""
    for split, counts in IMAGES.items():
        write_split(folder, split)
        write_store(folder / f"{split}.h5", counts)
    return folder


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The config group `data` for these files, with changes."""
    chosen = asdict(Settings())
    del chosen["_target_"], chosen["folder"], chosen["made_by"]
    chosen["questions"] = {split: str(folder / f"{split}_questions.json") for split in QUESTIONS}
    chosen["annotations"] = {split: str(folder / f"{split}_annotations.json") for split in QUESTIONS}
    chosen["features"] = [str(folder / f"{split}.h5") for split in QUESTIONS]
    chosen |= {"words_from": ["train"], "answers_from": ["train", "val"], "min_answer_count": 1, "cache": None}
    return {**chosen, "batch_size": 3, "eval_batch_size": 2, **changes}


def data(folder: Path, *, vocabulary: Any = None, **changes: Any) -> VQAData:
    """The data module, prepared."""
    made = VQAData(vocabulary=vocabulary, **settings(folder, **changes))
    made.prepare()
    return made


def drawn(loader: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All batches, copied out of the loader's memory, which is used again."""
    return [{k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()} for batch in loader]
