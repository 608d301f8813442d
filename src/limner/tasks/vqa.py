"""Visual question answering: soft-score classification over frequent answers, scored by the official metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limner import losses
from limner.data.vqa_files import VQASplit
from limner.errors import UserError
from limner.metrics import vqa as metric
from limner.metrics.rows import Row
from limner.models.updown_vqa import VQAOutput
from limner.tasks.base import Task

LOSSES = {
    "soft_bce": losses.soft_bce,
    "hard_bce": losses.hard_bce,
    "softmax": losses.softmax_ce,
    "kl": losses.softmax_kl,
}


class VQATask(Task):
    """Up-Down VQA as a task.

    Args:
        model: `forward(feats, mask, image, tokens) -> (logits (B,A), attention)`.
        answers: answer strings in label order, A of them.
        loss: soft_bce (Teney et al. 2018, eq. 8), hard_bce, softmax or kl.
    """

    def __init__(self, model: nn.Module, *, answers: Sequence[str], loss: str = "soft_bce", **optimisation: Any):
        super().__init__(model, **optimisation)
        if loss not in LOSSES:
            raise UserError(f"task.loss={loss}: expected one of {', '.join(LOSSES)}")
        self.answers = list(answers)
        self.loss_function = LOSSES[loss]
        self.softmax = loss in ("softmax", "kl")
        self.references: VQASplit | None = None
        """what people answered on the split that is evaluated; None: rows are made but not scored"""
        self._result: dict[str, Any] = {}
        self.questions: Mapping[int, tuple[int, str]] = {}
        """question id -> (image id, question); fills the rows of a detailed evaluation."""

    def forward(self, batch: dict[str, Tensor]) -> VQAOutput:
        return self.model(batch["feats"], batch["mask"], batch["image"], batch["tokens"])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, losses.Loss]:
        logits, _ = self(batch)
        return {"loss": self.loss_function(logits, batch["scores"])}

    @torch.no_grad()
    def rows(self, batch: dict[str, Tensor]) -> list[Row]:
        logits, attention = self(batch)
        ids = batch["id"].tolist()
        if not self.detailed:
            best = logits.argmax(1).tolist()
            return [{"id": i, "question_id": i, "answer": self.answers[a]} for i, a in zip(ids, best)]
        probabilities = logits.float().softmax(1) if self.softmax else logits.float().sigmoid()
        top = probabilities.topk(min(5, len(self.answers)), dim=1)
        maps = attention.float().cpu()
        regions = batch["mask"].sum(1)[batch["image"]].tolist()
        out = []
        for k, (item, values, labels) in enumerate(zip(ids, top.values.tolist(), top.indices.tolist())):
            image, question = self.questions.get(item, (None, None))
            row: Row = {"id": item, "question_id": item, "image_id": image, "question": question}
            row["answer"] = self.answers[labels[0]]
            row["confidence"] = round(values[0], 6)
            row["top5"] = [[self.answers[label], round(value, 6)] for label, value in zip(labels, values)]
            row["attention"] = [round(a, 5) for a in maps[k, : regions[k]].tolist()]
            out.append(row)
        return out

    def score(self, rows: list[Row]) -> dict[str, float]:
        """The official VQA accuracy in percent: overall (`score`) and by answer type; by question type in reports."""
        if self.references is None or not self.references.annotated:
            return {}
        self._result = metric.accuracy(rows, self.references, subset=[row["id"] for row in rows])
        return flat(self._result)

    def details(self) -> dict[str, Any]:
        counted = {"measured": f"vqa-v2-accuracy-1|questions:{self._result['questions']}"} if self._result else {}
        return {"metrics": self.scores, "official": self._result, **counted}

    def describe(self) -> dict[str, Any]:
        return {"task": "vqa", "softmax": self.softmax}


def flat(result: Mapping[str, Any]) -> dict[str, float]:
    """The metric's nested result as log names: `score`, `accuracy/yes_no`, ..."""
    scores = {"score": float(result["overall"])}
    for kind, value in result["answer_type"].items():
        scores[f"accuracy/{kind.replace('/', '_')}"] = float(value)
    return scores
