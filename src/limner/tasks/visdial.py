"""Visual dialog: ViLBERT learns to tell the answer from others, then how relevant options are; scored by ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from limner import visdial_losses, visdial_optim
from limner.data.dialog_regions import ImageInput, with_whole_image
from limner.errors import UserError
from limner.losses import Loss
from limner.metrics.bootstrap import intervals
from limner.metrics.rows import Row
from limner.metrics.visdial import DialogMetrics, DialogScores, ranks
from limner.models.vilbert import ViLBERTOutput, score
from limner.models.vilbert_parts import ROWS, alignment_in_parts
from limner.optim import scheduler
from limner.tasks.base import Task

STAGES = ("base", "dense", "dense_nsp")
NAMES = {"r@1": "r1", "r@5": "r5", "r@10": "r10", "mean": "mean_rank"}
"""metrics whose names would not do on a command line"""


class Published(NamedTuple):
    """The published schedule, in batches; see `limner.visdial_optim.rate`."""

    warmup: int
    total: int
    floor: float


class VisDialTask(Task):
    """ViLBERT on visual dialog (Murahari et al. 2020).

    Args:
        model: `limner.models.vilbert.ViLBERT`; for evaluation something with its `forward` and `alignment`.
        text: how dialogs become tokens, for the package: `lowercase`, `max_length`, `history`.
        stage: "base": right and wrong answers, masked words, masked regions; "dense": relevance of the options of
            judged rounds; "dense_nsp": relevance, and right and wrong answers.
        main: "mrr" or "ndcg", the metric called `score`. Without judged rounds MRR stands in for NDCG.
        words_weight, regions_weight, alignment_weight: factors on the losses beside the stage's own. Published: 1.
        image_lr: learning rate of all but the text stream; None: the optimiser's.
        warmup_steps, total_steps, lowest_lr: the published schedule in batches; `warmup_steps` None: `schedule`.
        rows: tokens and regions computed at once when options are ranked or compared.

    Each loss is a mean over what it counts (sequences, masked words, masked regions, rounds) of the global batch.

    Raises:
        UserError: an unknown stage or metric.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        text: Mapping[str, Any] | None = None,
        stage: str = "base",
        main: str = "mrr",
        words_weight: float = 1.0,
        regions_weight: float = 1.0,
        alignment_weight: float = 1.0,
        image_lr: float | None = None,
        warmup_steps: int | None = None,
        total_steps: int = 200_000,
        lowest_lr: float = 1e-5,
        rows: int = ROWS,
        **optimisation: Any,
    ):
        super().__init__(model, **optimisation)
        for name, value, known in (("stage", stage, STAGES), ("main", main, ("mrr", "ndcg"))):
            if value not in known:
                raise UserError(f"task.{name}={value}: expected one of {', '.join(known)}")
        self.counts_items = False
        self.shown = ("loss", "alignment")
        self.text, self.stage, self.main = dict(text or {}), stage, main
        self.words_weight, self.regions_weight, self.alignment_weight = words_weight, regions_weight, alignment_weight
        self.image_lr, self.rows_at_once = image_lr, rows
        self.published = None if warmup_steps is None else Published(warmup_steps, total_steps, lowest_lr)
        self.references: DialogMetrics | None = None
        """the split that is evaluated, where its answers are known; None: rows are made but not scored"""
        self._found: dict[str, Any] = {}

    @property
    def compares(self) -> bool:
        """Does the stage learn from judged rounds? The data then give these."""
        return self.stage != "base"

    # --- training ---

    def loss(self, batch: dict[str, Any]) -> dict[str, Loss]:
        parts = self.compared(batch) if self.compares else self.aligned(batch)
        return {"loss": self.together(batch, list(parts.values())), **{name: loss for name, (loss, _) in parts.items()}}

    def together(self, batch: dict[str, Any], parts: Sequence[tuple[Loss, float]]) -> Loss:
        """The sum of means, each over its own count on all processes, as a sum over the first one's count."""
        (main, weight), *others = parts
        total, count = weight * main.total, self.global_count(batch, main.count)
        for loss, factor in others:
            total = total + factor * count / max(self.global_count(batch, loss.count), 1) * loss.total
        return Loss(total, main.count)

    def aligned(self, batch: dict[str, Any]) -> dict[str, tuple[Loss, float]]:
        """Losses of the base stage with their factors."""
        out, targets = self.told(batch)
        losses = {"alignment": (visdial_losses.alignment(out.alignment, batch["labels"]), self.alignment_weight)}
        if out.words is not None:
            losses["words"] = (visdial_losses.masked_words(out.words, batch["word_targets"]), self.words_weight)
        if out.regions is not None and targets is not None:
            loss = visdial_losses.masked_regions if "region_targets" in batch else visdial_losses.masked_features
            losses["regions"] = (loss(out.regions, targets), self.regions_weight)
        return losses

    def told(self, batch: dict[str, Any]) -> tuple[ViLBERTOutput, Tensor | None]:
        """What the model says of a batch of the base stage, and what stands at the K places where it predicts regions:
        class probabilities (K, C), or features (K, D); None where it predicts none."""
        text = batch["tokens"], batch["segments"], batch["text_mask"]
        seen, dialog = self.seen(batch), batch["dialog"]
        words_at = batch["words_at"] if self.words_weight else None
        if seen is None:
            return self.model(*text, words_at=words_at), None
        if "regions_at" not in batch or not self.regions_weight:
            return self.model(*text, seen.feats, seen.boxes, seen.mask, dialog, words_at=words_at), None
        at, feats = batch["regions_at"][dialog], self.hidden(seen, batch["blanked"])
        out = self.model(*text, feats, seen.boxes, seen.mask, dialog, words_at=words_at, regions_at=at)
        which, region = at.nonzero().unbind(1)
        if "region_targets" not in batch:
            return out, seen.feats[dialog[which], region]
        place = batch["regions_at"].flatten().cumsum(0).view_as(batch["regions_at"]) - 1  # among the targets
        return out, batch["region_targets"][place[dialog[which], region]]

    def hidden(self, seen: ImageInput, blanked: Tensor) -> Tensor:
        """The features (I, 1 + R, D) with those of hidden regions zero. The whole image is still the mean of all, as
        published for dialogs."""
        return seen.feats.masked_fill(blanked[..., None], 0.0)

    def compared(self, batch: dict[str, Any]) -> dict[str, tuple[Loss, float]]:
        """Losses of the dense stages with their factors; exact gradients in the memory of a few sequences."""
        alignment = self.alignment(batch)
        options = alignment.view(*batch["relevance"].shape, 2)
        losses = {"relevance": (visdial_losses.dense_relevance(options, batch["relevance"]), 1.0)}
        if self.stage == "dense_nsp":
            losses["alignment"] = (visdial_losses.alignment(alignment, batch["labels"]), self.alignment_weight)
        return losses

    def alignment(self, batch: dict[str, Any]) -> Tensor:
        """The alignment (N, 2) of all sequences, computed in parts of like length."""
        text = batch["tokens"], batch["segments"], batch["text_mask"]
        seen = self.seen(batch)
        if seen is None:
            return alignment_in_parts(self.model, *text, rows=self.rows_at_once)
        return alignment_in_parts(
            self.model, *text, seen.feats, seen.boxes, seen.mask, batch["dialog"], rows=self.rows_at_once
        )

    def seen(self, batch: dict[str, Any]) -> ImageInput | None:
        """What the model sees of the image of each dialog; None without regions."""
        if not batch["feats"].shape[-1]:
            return None
        image = batch["image"]
        feats, boxes, mask = (batch[name][image] for name in ("feats", "boxes", "mask"))
        return with_whole_image(feats, boxes, mask, batch["size"], regions=None)

    # --- optimiser ---

    def setup(self, stage: str) -> None:
        """Freezes the heads that nothing asks in this training: they would get no gradient, for which DDP would wait.

        As published, what has no gradient does not decay either.

        Raises:
            UserError: dense_nsp, and the answer of a judged round is not known.
        """
        if stage != "fit":
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        split = getattr(getattr(data, "fit", None), "split", None)
        if self.stage == "dense_nsp" and split is not None and (split.gt_index[split.dense] < 0).any():
            raise UserError(
                "task.stage=dense_nsp, but judged rounds of data.fit have no known answer (gt_index): task.stage=dense "
                "needs none"
            )
        masks_regions = getattr(data, "masks_regions", True)
        asked = {"words_head": self.words_weight, "regions_head": masks_regions and self.regions_weight}
        for name, used in asked.items():
            head = getattr(self.model, name, None)
            if head is not None and (self.compares or not used):
                head.requires_grad_(False)

    def configure_optimizers(self) -> Any:
        """The published parameter groups, and the published schedule when it is asked for."""
        if self.make_optimizer is None:
            return None
        groups = visdial_optim.parameter_groups(self.model, lr=0.0, image_lr=1.0)
        kinds = [(group["lr"] > 0, group["weight_decay"] > 0) for group in groups]
        plain: Any = [
            {"params": group["params"], "name": group["name"], **({} if decays else {"weight_decay": 0.0})}
            for group, (_, decays) in zip(groups, kinds)
        ]
        optimizer = self.make_optimizer(plain)
        for group, (image, _) in zip(optimizer.param_groups, kinds):
            if image and self.image_lr is not None:
                group["lr"] = self.image_lr
        every, epochs = int(self.trainer.accumulate_grad_batches), self.trainer.max_epochs or 1
        if self.published is not None:
            chosen = visdial_optim.scheduler(optimizer, **self.published._asdict(), every=every)
        else:
            chosen = scheduler(optimizer, self.schedule, steps_per_epoch=self.steps_per_epoch(), epochs=epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": chosen, "interval": "step"}}

    # --- evaluation ---

    @torch.no_grad()
    def rows(self, batch: dict[str, Any]) -> list[Row]:
        """One row a ranked round: `id`, `image_id`, `round_id`, `ranks` of the options in the order of the file;
        `scores` in a detailed evaluation."""
        scores = score(self.alignment(batch)).cpu().numpy()
        images = batch["id"][batch["owner"]].tolist()
        first = batch["options"].tolist()
        made = []
        for image, number, start, stop in zip(images, batch["round"].tolist(), first, first[1:]):
            row: Row = {"id": 100 * image + number, "image_id": image, "round_id": number}
            row["ranks"] = ranks(scores[start:stop]).tolist()
            if self.detailed:
                row["scores"] = [round(value, 5) for value in scores[start:stop].tolist()]
            made.append(row)
        return made

    def score(self, rows: list[Row]) -> dict[str, float]:
        """The official metrics in percent, but the mean rank; `score` is `main`. {} where the answers are hidden."""
        self._found = {}
        references = self.references_of(rows)
        if references is None:
            return {}
        found = references.score(rows)
        corpus = named(found.corpus)
        main = self.main if self.main in corpus else "mrr"
        notes = list(found.notes) + ([] if main == self.main else ["no round is judged: score is MRR"])
        if self.detailed:
            self._found = detail(found, main, notes)
        return {"score": corpus[main], **corpus}

    def references_of(self, rows: Sequence[Row]) -> DialogMetrics | None:
        """The answers to all dialogs; in training to those that were ranked: `limit_val_batches` may leave some out."""
        if self.references is None or self.detailed:
            return self.references
        split = self.references.split
        ranked = np.isin(split.image_id, [row["image_id"] for row in rows])
        return self.references if ranked.all() else DialogMetrics(split.take(np.flatnonzero(ranked)))

    def details(self) -> dict[str, Any]:
        return {"task": "visdial", "metrics": self.scores, "measured": "visdial-1|ties:earlier", **self._found}

    def describe(self) -> dict[str, Any]:
        return {"task": "visdial", "text": self.text, "stage": self.stage, "signature": self.signature}

    @property
    def signature(self) -> str:
        """How the model was trained, in one line."""
        told = {
            "base": f"answers; masked words x {self.words_weight:g}, regions x {self.regions_weight:g}",
            "dense": "relevance of options",
            "dense_nsp": f"relevance of options; answers x {self.alignment_weight:g}",
        }
        return told[self.stage]


def named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by names for command lines: r@1 is r1."""
    return {NAMES.get(name, name): value for name, value in metrics.items()}


def detail(found: DialogScores, main: str, notes: Sequence[str]) -> dict[str, Any]:
    """What an evaluation says beside its numbers: 95 % intervals, tables by round and by type of question, notes.

    Args:
        main: the metric called `score`.
    """
    within = named(intervals(found.statistics))
    return {
        "main": main,
        "intervals": {"score": within[main], **within},
        "per_round": {str(number): named(values) for number, values in found.per_round.items()},
        "per_type": {kind: named(values) for kind, values in found.per_type.items()},
        "notes": list(notes),
    }
