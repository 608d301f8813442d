"""Both ways of `visdial.py` over the same weights, dialogs and regions, and what must be equal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import made_dialogs
import numpy as np
import torch
from full_size import words_for
from torch import Tensor, nn
from visdial_reference import LENGTH, TIED, PlainViLBERT, losses, padded

from limner import build, visdial_losses
from limner.metrics.visdial import ranks
from limner.models.vilbert import ViLBERT
from limner.models.vilbert_parts import alignment_in_parts
from limner.preflight import compose
from limner.weights.vilbert_importer import export_vilbert

SAMPLE = 1000  # dialogs written
REGIONS, CLASSES, AT_ONCE = 37, 1601, 10
NEVER = 1e-9  # a dropout that takes the way of dropout and drops nothing
BASE: dict[str, Any] = {
    "words": 30522, "feature_dim": 2048, "region_classes": CLASSES, "positions": 512, "segments": 2,
    "text_hidden": 768, "text_layers": 12, "text_heads": 12, "text_ffn": 3072,
    "image_hidden": 1024, "image_layers": 6, "image_heads": 8, "image_ffn": 1024, "joint_hidden": 1024,
    "joint_heads": 8, "text_connections": (6, 7, 8, 9, 10, 11), "image_connections": (0, 1, 2, 3, 4, 5),
}  # fmt: skip
TINY = BASE | {
    "text_hidden": 24, "text_layers": 3, "text_heads": 2, "text_ffn": 32, "image_hidden": 16, "image_layers": 2,
    "image_heads": 2, "image_ffn": 16, "joint_hidden": 16, "joint_heads": 2, "text_connections": (1, 2),
    "image_connections": (0, 1),
}  # fmt: skip
DROPS = ("dropout", "dropout_attention", "dropout_over_text", "dropout_over_image", "dropout_text", "dropout_image")
DROPOUTS = tuple(f"dropout_{name}" for name in ("text", "image", "text_attention", "image_attention", "fused"))


class Work:
    """Both models, dialogs, and regions that are random numbers."""

    def __init__(self, folder: Path, sizes: dict[str, Any], device: str) -> None:
        torch.manual_seed(0)
        self.sizes, self.device, self.folder = sizes | dict.fromkeys(DROPOUTS, 0.1), device, folder
        self.ours: nn.Module = ViLBERT(**self.sizes)
        if sizes is TINY:  # scores that differ
            for parameter in self.ours.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=0.15)
        self.ours.to(device)
        self.plain: PlainViLBERT | None = None
        (folder / made_dialogs.FOLDER).mkdir()
        share = SAMPLE / made_dialogs.SPLITS["train"]
        made_dialogs.write(folder / made_dialogs.FOLDER, np.random.default_rng(0), share=share, filled=0)
        self.data = build.build_data(compose("train", words_for("visdial", folder)))
        self.data.prepare()
        assert self.data.fit is not None
        self.batches = self.data.batches(self.data.fit)
        self.drawn = torch.Generator().manual_seed(0)
        self.context: Callable[[], Any] = nullcontext  # of forward passes

    def with_plain(self) -> PlainViLBERT:
        """The straightforward model, made when it is first asked for."""
        if self.plain is None:
            with torch.device(self.device):
                self.plain = PlainViLBERT(self.sizes)
            self.plain.load(self.ours)
        return self.plain

    def image(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features, boxes and mask of some images."""
        feats = torch.rand(count, REGIONS, self.sizes["feature_dim"], generator=self.drawn)
        boxes = torch.rand(count, REGIONS, 5, generator=self.drawn)
        return self.on(feats, boxes, torch.ones(count, REGIONS, dtype=torch.bool))

    def on(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.to(self.device) for x in tensors)

    def options(self, rounds: list[int], count: int) -> tuple[Tensor, ...]:
        """Tokens, segments, mask, image of the first `count` options of some rounds of a dialog of middling length."""
        encoder = self.batches.encoder
        order = np.argsort(np.add.reduceat(encoder.contexts.tail, encoder.split.first[:-1]))
        batch = self.batches.evaluation(order[len(order) // 2 :][:1])
        kept = torch.cat([batch["options"][number - 1] + torch.arange(count) for number in rounds])
        text = [batch[name][kept] for name in ("tokens", "segments", "text_mask")]
        longest = int(text[2].sum(1).max())
        return self.on(*(x[:, :longest] for x in text), torch.zeros(len(kept), dtype=torch.long))

    def training(self, count: int) -> dict[str, Tensor]:
        """`count` sequences of a training batch of 80, short and long ones as there; each has an image of its own."""
        size, _, make = self.batches.training(dense=False)
        whole = make(0, np.arange(min(size, 40)))
        order = whole["text_mask"].sum(1).argsort()
        kept = order[(torch.arange(count) + 0.5).mul(len(order) / count).long()].sort().values
        longest = int(whole["text_mask"][kept].sum(1).max())
        found = {name: whole[name][kept, :longest] for name in ("tokens", "segments", "text_mask", "words_at")}
        place = torch.full(whole["words_at"].shape, -1)
        place[whole["words_at"]] = whole["word_targets"]
        found |= {"word_labels": place[kept, :longest], "labels": whole["labels"][kept]}
        found["regions_at"] = whole["regions_at"][whole["dialog"][kept]]
        classes = torch.rand(count, REGIONS, self.sizes["region_classes"], generator=self.drawn)
        found["targets"] = classes / classes.sum(-1, keepdim=True)
        found |= dict(zip(("feats", "boxes", "mask"), self.image(count)))
        return dict(zip(found, self.on(*found.values())))

    # --- what both ways do ---

    def evaluate(self, way: str, text: tuple[Tensor, ...], seen: tuple[Tensor, ...]) -> Tensor:
        """The alignment `(N, 2)` of all sequences."""
        *text, image = text
        with torch.no_grad(), self.context():
            if way == "ours":
                return alignment_in_parts(self.ours.eval(), *text, *seen, image)
            model, found = self.with_plain().eval(), []
            for start in range(0, len(image), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                found.append(model(*(padded(x[part]) for x in text), *(x[image[part]] for x in seen))[0])
            return torch.cat(found)

    def train(self, way: str, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a step, back-propagated."""
        text = [batch[name] for name in ("tokens", "segments", "text_mask")]
        seen = [batch[name] for name in ("feats", "boxes", "mask")]
        at, labels = batch["regions_at"], batch["labels"]
        self.forget(way)
        if way == "ours":
            image = torch.arange(len(labels), device=labels.device)
            with self.context():
                out = self.ours(*text, *seen, image, words_at=batch["words_at"], regions_at=at)
            words, regions = batch["word_labels"][batch["words_at"]], batch["targets"][at]
            loss = visdial_losses.alignment(out.alignment, labels).mean
            loss = loss + visdial_losses.masked_words(out.words, words).mean
            loss = loss + visdial_losses.masked_regions(out.regions, regions).mean
        else:
            word_labels = nn.functional.pad(batch["word_labels"], (0, LENGTH - text[0].shape[1]), value=-1)
            with self.context():
                out = self.with_plain()(*map(padded, text), *seen)
            loss = losses(*(x.float() for x in out), labels, word_labels, batch["targets"], at)
        loss.backward()
        return loss.detach()

    def dense(self, way: str, text: tuple[Tensor, ...], seen: tuple[Tensor, ...]) -> Tensor:
        """Relevance and alignment of one round's options (the stage `dense_nsp`), back-propagated."""
        *text, image = text
        self.forget(way)
        with self.context():
            if way == "ours":
                alignment = alignment_in_parts(self.ours, *text, *seen, image)
            else:
                alignment = self.with_plain()(*map(padded, text), *(x[image] for x in seen))[0]
        relevance = torch.linspace(0, 1, len(image), device=image.device)[None]
        loss = visdial_losses.dense_relevance(alignment[None], relevance).mean
        loss = loss + visdial_losses.alignment(alignment, (relevance[0] > 0).long()).mean
        loss.backward()
        return loss.detach()

    def forget(self, way: str) -> None:
        """No gradients of one way."""
        (self.ours if way == "ours" else self.with_plain()).zero_grad()

    def learn(self, dropout: float) -> None:
        """Both models in training, with so much dropout and without gradients."""
        for way, model in (("ours", self.ours), ("plain", self.with_plain())):
            model.train()
            self.forget(way)
            for module in model.modules():
                names = ["p"] if isinstance(module, nn.Dropout) else [n for n in vars(module) if n in DROPS]
                for name in names:
                    setattr(module, name, dropout)


# --- equal results ---


def check_gradients(work: Work, step: Callable[[str], Tensor]) -> tuple[float, float]:
    """Differences of the losses of both ways and of their gradients (of the largest in the same tensor)."""
    work.learn(NEVER)
    found = {way: step(way).item() for way in ("ours", "plain")}
    difference = abs(found["ours"] - found["plain"]) / abs(found["plain"])
    mine = export_vilbert({name: p.grad for name, p in work.ours.named_parameters() if p.grad is not None}, prefix="")
    plain = {name: p.grad for name, p in work.with_plain().named_parameters() if p.grad is not None}
    missing = plain.keys() ^ mine.keys() - {TIED}
    assert not missing, f"one way has no gradient for {sorted(missing)}"
    largest = {name: grad.abs().max().item() for name, grad in plain.items()}
    least = 1e-3 * max(largest.values())  # what is smaller is compared with this: much of it is rounding
    worst = max((mine[name] - grad).abs().max().item() / max(largest[name], least) for name, grad in plain.items())
    work.learn(0.1)
    assert difference < 1e-5, f"losses differ by {difference} of their size"
    assert worst < 1e-4, f"gradients differ by {worst} of the largest"
    return difference, worst


def check_alignment(plain: Tensor, ours: Tensor, rounds: int) -> tuple[float, int]:
    """The largest difference of logits, and in how many rounds all ranks are equal: others hold rounding ties."""
    difference = (plain - ours).abs().max().item()
    assert difference < 1e-5, f"logits differ by {difference}"
    equal = 0
    for a, b in zip(*((x[:, 0] - x[:, 1]).view(rounds, -1).cpu().numpy() for x in (plain, ours))):
        same = bool((ranks(a) == ranks(b)).all())
        tied = np.diff(np.sort(a)).min(initial=1) <= 4 * difference
        assert same or tied, "the ranks of a round differ"
        equal += same
    return difference, equal
