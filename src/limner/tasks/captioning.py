"""Captioning: cross-entropy, then self-critical training when it is asked for; scored by CIDEr-D."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from limner.caption_losses import cross_entropy
from limner.data.caption_split import References
from limner.data.caption_words import CaptionVocabulary
from limner.decode import Greedy
from limner.errors import UserError, listing
from limner.inference.captions import captions, row_of
from limner.losses import Loss
from limner.metrics.rows import Row
from limner.scst import SCST
from limner.scst.samples import images_of
from limner.tasks.base import Sums, Task
from limner.tasks.caption_rows import RowScores


@dataclass(frozen=True, kw_only=True)
class ScheduledSampling:
    """How often cross-entropy training reads a word that the model drew itself (Bengio et al. 2015).

    min(step x floor((epoch - start) / every), max); the defaults are the published captioner's.
    """

    start: int = 0
    every: int = 5
    step: float = 0.05
    max: float = 0.25

    def __post_init__(self) -> None:
        if not (self.start >= 0 and self.every >= 1 and 0 <= self.step <= 1 and 0 <= self.max <= 1):
            raise UserError(f"task.{self}: expected start >= 0, every >= 1, step and max from 0 to 1")

    def probability(self, epoch: int) -> float:
        return min(self.step * (max(epoch - self.start, 0) // self.every), self.max)


class CaptioningTask(Task):
    """A captioner as a task.

    Args:
        model: `limner.models.updown_captioner.UpDownCaptioner`, or something with its face; for evaluation `begin` and
            `step` are enough.
        vocabulary: the model's words.
        references: the training captions; self-critical training needs them.
        decode: how captions are written in validation and evaluation; None: greedily.
        scst: self-critical training from the epoch `scst.start_epoch` on; None: cross-entropy throughout.
        label_smoothing: of cross-entropy, see `limner.caption_losses.cross_entropy`.
        scheduled_sampling: `{start, every, step, max}`, see `ScheduledSampling`; None: never.
        java: METEOR and SPICE in detailed evaluations, where their official parts are there; else a note says why not.

    Losses are means over the tokens of the global batch, words and ends.

    Raises:
        UserError: an unknown key of `scheduled_sampling`, or nothing to be self-critical with.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        vocabulary: CaptionVocabulary,
        references: References | None = None,
        decode: Any = None,
        scst: SCST | None = None,
        label_smoothing: float = 0.0,
        scheduled_sampling: Mapping[str, Any] | None = None,
        java: bool = True,
        **optimisation: Any,
    ):
        super().__init__(model, **optimisation)
        self.counts_items = False
        self.vocabulary, self.decode, self.scst = vocabulary, decode or Greedy(), scst
        self.label_smoothing, self.java = label_smoothing, java
        self.scheduled_sampling = scheduled(scheduled_sampling)
        if scst is not None and references is not None:
            scst.prepare(references, vocabulary)
        elif scst is not None and self.make_optimizer is not None:
            raise UserError("scst: the data give no training captions (`references` of task_arguments): scst=null")
        self.references: Mapping[int, Sequence[str]] | None = None
        """image id -> what people wrote, on the split that is evaluated; None: rows are made but not scored"""
        self._trained: str | None = None
        self._score = RowScores()

    # --- training ---

    @property
    def in_scst(self) -> bool:
        """Is this epoch self-critical?"""
        return self.scst is not None and self.current_epoch >= self.scst.start_epoch

    def loss(self, batch: dict[str, Any]) -> dict[str, Loss]:
        if not self.in_scst:
            return {"loss": self.cross_entropy(batch)}
        assert self.scst is not None
        found = self.scst.losses(self.model, batch)
        if self.trainer.is_global_zero:
            for text in self.scst.warnings(found):
                print(f"warning: {text}", file=sys.stderr, flush=True)
        return self.mixed(found, batch, self.scst.xe_weight) if self.scst.xe_weight else found

    def cross_entropy(self, batch: dict[str, Any]) -> Loss:
        """Teacher-forced cross-entropy of the batch's captions."""
        model: Any = self.model
        given = batch["feats"], batch["mask"], batch["image"], batch["tokens"], batch["lengths"]
        drawn = self.scheduled_sampling.probability(self.current_epoch) if self.scheduled_sampling else 0.0
        states = model.states(*given, **images_of(batch), scheduled_sampling=drawn)
        return cross_entropy(states, model.word_layer, batch["tokens"], smoothing=self.label_smoothing)

    def mixed(self, found: dict[str, Loss], batch: dict[str, Any], share: float) -> dict[str, Loss]:
        """`share` x cross-entropy + (1 - share) x self-critical loss, each a mean over its own tokens everywhere.

        The sum stands over the self-critical tokens, by which it will be divided.
        """
        critical, xe = found["loss"], self.cross_entropy(batch)
        ratio = self.global_count(batch, critical.count) / max(self.global_count(batch, xe.count), 1)
        total = (1 - share) * critical.total + share * ratio * xe.total
        return {**found, "loss": Loss(total, critical.count), "scst": critical, "xe": xe}

    def means(self, sums: Sums) -> dict[str, float]:
        """The base's, with the standard deviation of the advantage in the place of its square."""
        means = super().means(sums)
        if "advantage_square" in means:
            square = means.pop("advantage_square")
            means["advantage_std"] = math.sqrt(max(square - means.pop("advantage") ** 2, 0.0))
        return means

    # --- evaluation ---

    @torch.no_grad()
    def rows(self, batch: dict[str, Any]) -> list[Row]:
        model: Any = self.model
        decoder = replace(self.decode, attention=True) if self.detailed else self.decode
        state = model.begin(batch["feats"], batch["mask"], **images_of(batch))
        words = self.vocabulary
        decoded = decoder(model.step, state, words=len(words), vocabulary=words, keys=batch["id"])
        made = captions(decoded, batch["mask"], words)
        return [row_of(image, caption, detailed=self.detailed) for image, caption in zip(batch["id"].tolist(), made)]

    def score(self, rows: list[Row]) -> dict[str, float]:
        """See `RowScores`. METEOR and SPICE take long and are wanted once: the first process computes them."""
        java = self.java and self.detailed and self.trainer.is_global_zero
        return self._score(rows, self.references, detailed=self.detailed, java=java)

    def details(self) -> dict[str, Any]:
        return {
            "metrics": self.scores,
            "signature": self.signature,
            "decode": written(self.decode),
            **self._score.found,
        }

    # --- what is written down ---

    @property
    def signature(self) -> str:
        """How the model was trained, in one line."""
        if self._trained is not None:
            return self._trained
        if self.scst is not None:
            return self.scst.signature
        smoothing = f"; label smoothing {self.label_smoothing:g}" if self.label_smoothing else ""
        return "cross-entropy" + smoothing + ("; scheduled sampling" if self.scheduled_sampling else "")

    def trained_as(self, descriptions: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what the packages that are evaluated say about their training."""
        self._trained = " | ".join(dict.fromkeys(str(meta.get("signature", "unknown")) for meta in descriptions))

    def describe(self) -> dict[str, Any]:
        return {"task": "captioning", "signature": self.signature, "decode": written(self.decode)}


def written(decoder: Any) -> str:
    """A decoder in one line: its name and the options that are not the defaults."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, (list, tuple)) else value  # a YAML file has no tuples

    options = {field.name: (plain(getattr(decoder, field.name)), plain(field.default)) for field in fields(decoder)}
    changed = [f"{name}={value!r}" for name, (value, default) in options.items() if value != default]
    return f"{type(decoder).__name__}({', '.join(changed)})"


def scheduled(settings: Mapping[str, Any] | None) -> ScheduledSampling | None:
    """The config key `task.scheduled_sampling` as an object."""
    if settings is None:
        return None
    known = [f.name for f in fields(ScheduledSampling)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UserError(f"task.scheduled_sampling: unknown {listing(unknown)}; known: {', '.join(known)}")
    return ScheduledSampling(**settings)
