"""Pretraining ViLBERT: masked words, masked regions, and whether text and image belong together."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.data.dialog_regions import ImageInput
from limner.losses import full
from limner.metrics.rows import Row
from limner.tasks.visdial import VisDialTask

HEADS = {"words": "masked_words", "regions": "masked_regions"}  # a row's sum and what it is a sum over


class PretrainingTask(VisDialTask):
    """The base stage of `VisDialTask` on images and single texts (Lu et al. 2019, and the first two stages of Murahari
    et al. 2020), with scores of its own.

    Args:
        model: `limner.models.vilbert.ViLBERT`.
        text: how texts become tokens, for the package: `lowercase`, `max_length`.
        words_weight, regions_weight, alignment_weight: factors on the three losses. Published: 1.
        image_lr, warmup_steps, total_steps, lowest_lr: as in `VisDialTask`.
    """

    def __init__(self, model: nn.Module, **settings: Any):
        super().__init__(model, **settings)
        self.shown = ("loss", "alignment", "words", "regions")

    def hidden(self, seen: ImageInput, blanked: Tensor) -> Tensor:
        """As published for pretraining: the whole image is the mean of what is left of its regions, so that it does not
        tell what is hidden."""
        feats = super().hidden(seen, blanked)
        regions = seen.mask[:, 1:].sum(1).clamp(min=1)
        mean = feats[:, 1:].sum(1) / regions[:, None]
        return torch.cat((mean[:, None], feats[:, 1:]), 1)

    # --- evaluation ---

    @torch.no_grad()
    def rows(self, batch: dict[str, Any]) -> list[Row]:
        """One row a pair: `id`, `image_id`, `label` (0: they belong together), `right` (1: the model says so too),
        `alignment` (its loss); sums over what is hidden, `words`, `regions`, with `masked_words`, `masked_regions`, of
        which there are so many, and `right_words`. What has no weight is left out."""
        out, targets = self.told(batch)
        labels, count = batch["labels"], len(batch["labels"])
        columns: dict[str, Tensor] = {name: batch[name] for name in ("id", "image_id")}
        columns |= {"label": labels, "right": (out.alignment.argmax(1) == labels).long()}
        columns["alignment"] = F.cross_entropy(full(out.alignment), labels, reduction="none")
        if out.words is not None:
            which, words = batch["words_at"].nonzero()[:, 0], batch["word_targets"]
            columns["words"] = added(F.cross_entropy(full(out.words), words, reduction="none"), which, count)
            columns["masked_words"] = which.bincount(minlength=count)
            columns["right_words"] = which[out.words.argmax(1) == words].bincount(minlength=count)
        if out.regions is not None and targets is not None:
            which = batch["regions_at"][batch["dialog"]].nonzero()[:, 0]
            found, targets = full(out.regions), full(targets)
            if "region_targets" in batch:
                losses = F.kl_div(F.log_softmax(found, 1), targets.to(found.dtype), reduction="none").sum(1)
            else:
                losses = F.mse_loss(found, targets.to(found.dtype), reduction="none").mean(1)
            columns["regions"] = added(losses, which, count)
            columns["masked_regions"] = which.bincount(minlength=count)
        lists = {name: column.tolist() for name, column in columns.items()}
        return [dict(zip(lists, values)) for values in zip(*lists.values())]

    def score(self, rows: list[Row]) -> dict[str, float]:
        """`score`: how many pairs are told right, in percent. `loss`: the loss that training lowers; `alignment`,
        `words`, `regions`: its parts, each a mean over what it counts. `right_words`: masked words that are found, in
        percent. {} without rows."""
        self._found = {}
        if not rows:
            return {}
        found = {"alignment": mean(rows, "alignment")}
        found |= {name: mean(rows, name, over) for name, over in HEADS.items() if name in rows[0]}
        factors = {"alignment": self.alignment_weight, "words": self.words_weight, "regions": self.regions_weight}
        loss = sum(factors[name] * value for name, value in found.items())
        scores = {"score": 100 * mean(rows, "right"), "loss": loss, **found}
        if "words" in found:
            scores["right_words"] = 100 * mean(rows, "right_words", "masked_words")
        return scores

    def details(self) -> dict[str, Any]:
        return {"task": "visdial_pretraining", "metrics": self.scores}

    def describe(self) -> dict[str, Any]:
        return {"task": "visdial_pretraining", "text": self.text, "signature": self.signature}

    @property
    def signature(self) -> str:
        """How the model was trained, in one line."""
        return (
            f"alignment x {self.alignment_weight:g}; masked words x {self.words_weight:g}, "
            f"regions x {self.regions_weight:g}"
        )


def added(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count,) sums of `values` (M,) by the row each belongs to."""
    return values.new_zeros(count).index_add_(0, rows, values)


def mean(rows: list[Row], name: str, over: str | None = None) -> float:
    """The mean of a row's number, or the sums `name` divided by the counts `over`; 0 over nothing."""
    count = len(rows) if over is None else sum(row[over] for row in rows)
    return sum(row[name] for row in rows) / max(count, 1)
