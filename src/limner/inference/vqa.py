"""Answers questions about regions with one packaged model or several. Needs neither Hydra nor Lightning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from limner import submit
from limner.data.text import Vocabulary
from limner.data.tokens import pad_tokens
from limner.data.vqa_files import read_questions as read_official
from limner.errors import UserError
from limner.inference.ensembles import refuse_other_features
from limner.metrics.rows import Row
from limner.models.ensemble import VQAEnsemble
from limner.weights.package import Package


class Answer(NamedTuple):
    """answer: the most probable one. confidence: its probability. top5: (answer, probability) pairs, best first.
    attention: (R,) weight of each region, sums to 1; None for a model that does not look."""

    answer: str
    confidence: float
    top5: list[tuple[str, float]]
    attention: np.ndarray | None


def one_model(packages: Sequence[Package]) -> torch.nn.Module:
    """The model of one package, or the ensemble of several.

    Raises:
        UserError: the packages differ in words, answers or loss, so that their answers cannot be averaged.
    """
    first = packages[0]
    for number, other in enumerate(packages[1:], start=2):
        for name in ("words", "answers"):
            if other.vocab[name] != first.vocab[name]:
                raise UserError(f"model: package {number} has other {name} than package 1: they cannot vote together")
        if other.meta.get("softmax") != first.meta.get("softmax"):
            raise UserError(f"model: package {number} was trained with another kind of loss than package 1")
        if other.sizes.get("question_length") != first.sizes.get("question_length"):
            raise UserError(f"model: package {number} reads another question_length than package 1")
    refuse_other_features(packages)
    if len(packages) == 1:
        return first.model
    return VQAEnsemble([package.model for package in packages], softmax=bool(first.meta.get("softmax")))


class Answerer:
    """Answers questions about given regions.

    Args:
        packages: one, or several with the same words and answers: an ensemble.
        device: where to compute.
    """

    def __init__(self, packages: Sequence[Package], *, device: str = "cpu"):
        self.package = packages[0]
        self.device = torch.device(device)
        self.model = one_model(packages).eval().to(self.device)
        self.vocabulary = Vocabulary(self.package.vocab["words"])
        self.answers = [answer or "a" for answer in self.package.vocab["answers"]]
        self.softmax = bool(self.package.meta.get("softmax"))
        self.question_length = int(self.package.sizes.get("question_length", 14))
        features = self.package.meta.get("features")
        self.feature_dim: int | None = features["dim"] if features else None

    def answer(self, features: np.ndarray | Tensor | None, question: str) -> Answer:
        """Answers one question.

        Args:
            features: (R, D) regions of the image; None for a question-only model.
            question: plain text; words the model does not know are skipped.
        """
        return self.answer_many(features, [question])[0]

    def answer_many(self, features: np.ndarray | Tensor | None, questions: Sequence[str]) -> list[Answer]:
        """Answers several questions about one image, whose regions are looked at once."""
        feats = torch.zeros(1, 1, 0) if features is None else torch.as_tensor(np.asarray(features))[None]
        if feats.ndim != 3 or not feats.shape[1]:
            found = tuple(feats.shape[1:])
            raise UserError(f"features have the shape {found}, expected (regions, numbers) with one region or more")
        feats = feats if feats.is_floating_point() else feats.float()
        mask = torch.ones(feats.shape[:2], dtype=torch.bool)
        return self.batch(feats, mask, torch.zeros(len(questions), dtype=torch.long), questions)

    @torch.no_grad()
    def batch(self, feats: Tensor, mask: Tensor, image: Tensor, questions: Sequence[str]) -> list[Answer]:
        """Answers B questions about I images.

        Args:
            feats: (I, R, D). mask: (I, R), True where there is a region. image: (B,) row of each question's image.
            questions: B texts.

        Raises:
            UserError: regions of another size than the model was trained on, or none where it needs them.
        """
        if self.feature_dim is not None and feats.shape[-1] != self.feature_dim:
            raise UserError(f"features have {feats.shape[-1]} numbers a region, the model expects {self.feature_dim}")
        if feats.is_floating_point() and not torch.isfinite(feats).all():
            raise UserError("features hold NaN or infinite numbers: extract them again (limner features check FILE)")
        flat, offsets = self.vocabulary.encode_all(list(questions), self.question_length, unknown="skip")
        tokens = pad_tokens(flat, offsets, np.arange(len(questions)), self.vocabulary.pad)
        where = self.device
        logits, attention = self.model(feats.to(where), mask.to(where), image.to(where), tokens.to(where))
        probabilities = (logits.softmax(1) if self.softmax else logits.sigmoid()).float().cpu()
        top = probabilities.topk(min(5, len(self.answers)), dim=1)
        regions = mask.sum(1).tolist()
        maps = None if attention is None or self.feature_dim is None else attention.float().cpu().numpy()
        return [
            Answer(
                answer=self.answers[labels[0]],
                confidence=values[0],
                top5=[(self.answers[label], value) for label, value in zip(labels, values)],
                attention=None if maps is None else maps[k, : regions[int(image[k])]],
            )
            for k, (values, labels) in enumerate(zip(top.values.tolist(), top.indices.tolist()))
        ]


def trial(package: Package, features: np.ndarray, *, device: str) -> str:
    """Answers one question about (R, D) features, for `limner load`; what was done, in words."""
    answerer = Answerer([package], device=device)
    found = answerer.answer(features if answerer.feature_dim else None, " ".join(answerer.vocabulary.words[:3]))
    return f"a question is answered ({found.answer!r})"


Predictor = Answerer
SUBMISSION = submit.write_vqa_submission


def predict(answerer: Answerer, store: Any, config: Any) -> tuple[Iterator[Row], int]:
    """Rows in the order of the questions, and how many; the questions are read and checked before the first."""
    if config.questions is None:
        raise UserError("questions: must be given: the model answers questions; a VQA v2 question file, or a JSON list")
    ids, images, texts = read_questions(Path(config.questions))
    return rows(answerer, store, ids, images, texts, config.batch_size), len(ids)


def read_questions(path: Path) -> tuple[list[int], list[int], list[str]]:
    """Questions of an official VQA v2 file, or of a plain JSON list of `{question_id, image_id, question}`."""
    if path.suffix == ".gz" or path.read_bytes().lstrip()[:1] != b"[":
        asked, pictured, spoken = read_official(path)
        return asked.tolist(), pictured.tolist(), spoken
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        found = [(int(r["question_id"]), int(r["image_id"]), str(r["question"])) for r in records]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        expected = 'a list of {"question_id": 1, "image_id": 42, "question": "..."}'
        raise UserError(f"{path}: {error!r}; expected {expected}") from None
    if len({question for question, _, _ in found}) < len(found):
        raise UserError(f"{path}: a question_id stands twice; each question needs its own")
    if not found:
        raise UserError(f"{path}: the list is empty; expected at least one question")
    ids, images, texts = (list(column) for column in zip(*found))
    return ids, images, texts


def rows(
    answerer: Answerer, store: Any, ids: list[int], images: list[int], texts: list[str], batch_size: int
) -> Iterator[Row]:
    """Rows in the order of the questions; an image's regions are read once for its questions in a batch."""
    positions = store.positions(np.array(images)) if store is not None else None
    for start in range(0, len(ids), batch_size):
        part = slice(start, start + batch_size)
        if positions is None:
            feats, mask = torch.zeros(1, 1, 0), torch.zeros(1, 1, dtype=torch.bool)
            image = torch.zeros(len(ids[part]), dtype=torch.long)
        else:
            distinct, where = np.unique(positions[part], return_inverse=True)
            regions = store.read(distinct)
            feats, mask = torch.from_numpy(regions.feats), torch.from_numpy(regions.mask)
            image = torch.from_numpy(where)
        for k, answer in enumerate(answerer.batch(feats, mask, image, texts[part])):
            row: Row = {"id": ids[start + k], "question_id": ids[start + k], "image_id": images[start + k]}
            row |= {"question": texts[start + k], "answer": answer.answer, "confidence": round(answer.confidence, 6)}
            row["top5"] = [[text, round(value, 6)] for text, value in answer.top5]
            if answer.attention is not None:
                row["attention"] = [round(a, 5) for a in answer.attention.tolist()]
            yield row
