"""Visual question answering: soft-score classification over frequent answers, scored by the official metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limner import losses
from limner.errors import UserError
from limner.metrics import vqa as metric
from limner.metrics.rows import Row
from limner.tasks.base import Task

LOSSES = {
    "soft_bce": losses.soft_bce,
    "hard_bce": losses.hard_bce,
    "softmax": losses.soft_cross_entropy,
    "kl": losses.kl_divergence,
}


class VQATask(Task):
    """Up-Down VQA as a task.

    Args:
        model: `forward(feats, mask, image, tokens) -> (logits (B,A), attention)`.
        answers: answer strings in label order, A of them.
        references: split name -> the official references its rows are scored with; set before a validation.
        loss: soft_bce (Teney et al. 2018, eq. 8), hard_bce, softmax or kl.
    """

    def __init__(self, model: nn.Module, *, answers: Sequence[str], loss: str = "soft_bce", **optimisation: Any):
        super().__init__(model, **optimisation)
        if loss not in LOSSES:
            raise UserError(f"task.loss={loss}: expected one of {', '.join(LOSSES)}")
        self.answers = list(answers)
        self.loss_function = LOSSES[loss]
        self.softmax = loss in ("softmax", "kl")
        self.references: Mapping[int, Any] | None = None
        self.questions: Mapping[int, tuple[int, str]] = {}
        """question id -> (image id, question); fills the rows of a detailed evaluation."""

    def forward(self, batch: dict[str, Tensor]):
        return self.model(batch.get("feats"), batch.get("mask"), batch.get("image"), batch["tokens"])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits, _ = self(batch)
        return {"loss": self.loss_function(logits, batch["scores"])}

    def probabilities(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Answer probabilities (B,A) and attention (B,R) of a batch."""
        logits, attention = self(batch)
        logits = logits.float()
        return (logits.softmax(1) if self.softmax else logits.sigmoid()), attention

    @torch.no_grad()
    def rows(self, batch: dict[str, Tensor]) -> list[Row]:
        probabilities, attention = self.probabilities(batch)
        ids = batch["id"].tolist()
        if not self.detailed:
            best = probabilities.argmax(1).tolist()
            return [{"id": i, "question_id": i, "answer": self.answers[a]} for i, a in zip(ids, best)]
        top = probabilities.topk(min(5, len(self.answers)), dim=1)
        maps = attention.float().cpu() if attention is not None else None
        mask = batch["mask"][batch["image"]].sum(1).tolist() if maps is not None else None
        out = []
        for k, (item, values, labels) in enumerate(zip(ids, top.values.tolist(), top.indices.tolist())):
            image, question = self.questions.get(item, (None, None))
            row: Row = {"id": item, "question_id": item, "image_id": image, "question": question}
            row["answer"] = self.answers[labels[0]]
            row["confidence"] = round(values[0], 6)
            row["top5"] = [[self.answers[label], round(value, 6)] for label, value in zip(labels, values)]
            if maps is not None:
                row["attention"] = [round(a, 5) for a in maps[k, : mask[k]].tolist()]
            out.append(row)
        return out

    def score(self, rows: list[Row]) -> dict[str, float]:
        """The official VQA accuracy in percent: overall (`score`) and by answer type; by question type in reports."""
        if self.references is None:
            return {}
        result = metric.accuracy(rows, self.references, subset=[row["id"] for row in rows])
        return flat(result)


def flat(result: Mapping[str, Any]) -> dict[str, float]:
    """The metric's nested result as log names: `score`, `accuracy/yes_no`, ..."""
    raise_for = result["overall"]
    scores = {"score": float(raise_for)}
    for kind, value in result["by_answer_type"].items():
        scores[f"accuracy/{kind.replace('/', '_')}"] = float(value)
    return scores
