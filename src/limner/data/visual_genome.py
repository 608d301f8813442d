"""Question-answer pairs of Visual Genome as extra training data for VQA (paper section 3; openvqa: +0.56 on test-dev).

Half of the Visual Genome images are COCO images, so their region features are there already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.data.answers import AnswerVocabulary
from limner.data.reading import json_records
from limner.data.vqa_files import ANSWERS
from limner.data.vqa_split import VQASplit
from limner.errors import UserError
from limner.metrics.normalize import normalize_answer

_NEXT_STEP = "fetch it with: limner data get visual_genome"


def coco_images(path: str | Path) -> dict[int, int]:
    """Visual Genome image id -> COCO image id, for the images that are in COCO, from `image_data.json`."""
    pairs = {}
    for index, record in enumerate(json_records(path, None, next_step=_NEXT_STEP)):
        if not isinstance(record, dict) or "coco_id" not in record or type(record.get("image_id")) is not int:
            raise UserError(
                f"{path}: record {index} has not the fields 'image_id' and 'coco_id'; is it image_data.json?"
            )
        if record["coco_id"] is not None:
            pairs[record["image_id"]] = record["coco_id"]
    return pairs


def load_visual_genome(
    question_answers: str | Path,
    vocabulary: AnswerVocabulary,
    *,
    image_data: str | Path | None = None,
    images: np.ndarray | None = None,
) -> VQASplit:
    """The pairs whose normalised answer is in the vocabulary, as a split to `join` with the VQA training split.

    question_answers: `[{"id", "qas": [{"qa_id", "image_id", "question", "answer"}, ...]}, ...]`.
    image_data: `image_data.json`; then image ids become COCO ids and images outside COCO are left out. None: the ids
      stay those of Visual Genome (they overlap COCO's numbers, so they need a feature store of their own).
    images: ids (after that mapping) to keep. Give the ids of the training images whenever a model is judged on val:
      Visual Genome covers val2014 images too.

    Each pair counts as ten people who agree (soft score 1), its types are "visual genome", and its question id is
    `-qa_id`, so that it cannot meet a VQA question id.

    Raises `UserError`: missing or damaged file, a record without these fields, no pair left.
    """
    coco = None if image_data is None else coco_images(image_data)
    keep = None if images is None else set(np.asarray(images).tolist())
    ids, image_ids, texts, labels = [], [], [], []
    for index, image in enumerate(json_records(question_answers, None, next_step=_NEXT_STEP)):
        try:
            for pair in image["qas"]:
                image_id = pair["image_id"] if coco is None else coco.get(pair["image_id"])
                label = vocabulary.ids.get(normalize_answer(pair["answer"]))
                if image_id is None or label is None or not (keep is None or image_id in keep):
                    continue
                ids.append(-pair["qa_id"])
                image_ids.append(image_id)
                texts.append(pair["question"])
                labels.append(label)
        except (KeyError, TypeError, AttributeError):
            expected = "'qas', a list with qa_id, image_id, question and answer"
            raise UserError(f"{question_answers}: record {index}: expected {expected}") from None
    if not ids:
        raise UserError(
            f"{question_answers}: no pair is left: none has an answer in the vocabulary and an image that is wanted"
        )
    best = np.array(labels, np.int32)
    return VQASplit(
        np.array(ids, np.int64),
        np.array(image_ids, np.int64),
        texts,
        list(vocabulary.answers),
        np.repeat(best[:, None], ANSWERS, axis=1),
        best,
        np.zeros(len(ids), np.int32),
        np.zeros(len(ids), np.int32),
        ["visual genome"],
        ["visual genome"],
    )
