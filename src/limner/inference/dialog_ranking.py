"""Ranks candidate answers in a dialog with one packaged ViLBERT or several. Needs neither Hydra nor Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from limner.data.dialog_encoding import MAX_LENGTH, DialogEncoder
from limner.data.dialog_regions import ImageInput, with_whole_image
from limner.data.visdial_files import from_dialogs
from limner.data.visdial_split import VisDialSplit
from limner.data.wordpiece import WordPiece
from limner.errors import UserError
from limner.inference.dialog_talk import USUAL, Talk
from limner.inference.ensembles import refuse_other_features
from limner.models.vilbert import ViLBERTOutput, score
from limner.models.vilbert_parts import alignment_in_parts
from limner.weights.package import Package

Dialog = Mapping[str, Any]


class Ranked(NamedTuple):
    """A candidate and its score: the log odds that it is the answer. Several models: the mean of theirs."""

    answer: str
    score: float


class DialogEnsemble(nn.Module):
    """The mean alignment of several models; their scores are log odds, so its score is the mean of theirs."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, *args: Tensor) -> ViLBERTOutput:
        return ViLBERTOutput(torch.stack([model(*args).alignment for model in self.models]).mean(0), None, None)


def one_model(packages: Sequence[Package]) -> nn.Module:
    """The model of one package, or the ensemble of several.

    Raises:
        UserError: the packages read texts or see images in different ways, so that they cannot rank together.
    """
    first = packages[0]
    for number, other in enumerate(packages[1:], start=2):
        if other.vocab["words"] != first.vocab["words"] or text_rules(other) != text_rules(first):
            raise UserError(
                f"model: package {number} reads texts in another way than package 1: they cannot rank together"
            )
    refuse_other_features(packages)
    return first.model if len(packages) == 1 else DialogEnsemble([package.model for package in packages])


def text_rules(package: Package) -> dict[str, Any]:
    """How a package says that dialogs become tokens; what it does not say is as published."""
    return {"lowercase": True, "max_length": MAX_LENGTH, "history": None, **(package.meta.get("text") or {})}


class DialogRanker:
    """Ranks candidate answers to a question about an image, after a dialog.

    Args:
        packages: one, or several that read alike: an ensemble.
        device: where to compute.
    """

    def __init__(self, packages: Sequence[Package], *, device: str = "cpu"):
        self.package = packages[0]
        self.device = torch.device(device)
        self.model = one_model(packages).eval().to(self.device)
        rules = text_rules(self.package)
        self.words = WordPiece(self.package.vocab["words"], lowercase=rules.pop("lowercase"))
        self.rules = rules
        self.sees = self.package.sizes.get("fusion") != "text"
        self.feature_dim = int(self.package.sizes.get("feature_dim", 2048))
        self.max_regions: int | None = (self.package.meta.get("features") or {}).get("max_regions")

    def rank(
        self,
        features: np.ndarray | Tensor | None,
        *,
        dialog: Dialog,
        question: str,
        candidates: Sequence[str],
        boxes: np.ndarray | Tensor | None = None,
        size: tuple[float, float] | None = None,
    ) -> list[Ranked]:
        """The candidates, best first; of equal ones the earlier.

        Args:
            features: (R, D) regions; None for a model that reads only the text.
            dialog: `{"caption": "a dog", "dialog": [{"question": "is it big", "answer": "yes"}, ...]}`, what has been
                said before; both may be missing.
            question: the question to answer. candidates: texts.
            boxes: (R, 4) x1, y1, x2, y2 in pixels, and size: width and height of the image. Without them every region
                stands for the whole image, which the model has hardly seen: give them where they are known.

        Raises:
            UserError: no candidates, a dialog of another form, features of another size.
        """
        return self.after(dialog, question, self.candidates(candidates), self.seen(features, boxes, size))

    def dialog(
        self,
        features: np.ndarray | Tensor | None = None,
        *,
        caption: str = "",
        said: Sequence[Mapping[str, str]] = (),
        candidates: Sequence[str] | int = USUAL,
        boxes: np.ndarray | Tensor | None = None,
        size: tuple[float, float] | None = None,
    ) -> Talk:
        """A dialog that goes on: its `ask(question)` ranks candidates and remembers the best one as the answer.

        Args:
            features, boxes, size: as for `rank`.
            caption: of the image. said: questions and answers so far, `[{"question": "is it big", "answer": "yes"}]`.
            candidates: texts to choose answers from, or how many of the most frequent training answers, which a
                trained package keeps (an imported one has none).

        Raises:
            UserError: no candidates, or features of another size.
        """
        return Talk(self, self.seen(features, boxes, size), caption, said, self.candidates(candidates))

    def candidates(self, given: Sequence[str] | int) -> list[str]:
        """Texts as they are given, or so many of the most frequent training answers, as far as the package has them.

        Raises:
            UserError: there are none.
        """
        if isinstance(given, int):
            kept = self.package.vocab.get("frequent_answers") or []
            if not kept or given < 1:
                told = f"found {given}, expected 1 or more" if kept else "the model package keeps no frequent answers"
                raise UserError(f"candidates: {told}; give texts of your own: a list, or candidates=FILE")
            return list(kept[:given])
        if isinstance(given, str) or not len(given):
            raise UserError(f"candidates: found {given!r}, expected a list of one text or more")
        return list(given)

    def after(self, dialog: Dialog, question: str, candidates: Sequence[str], seen: ImageInput | None) -> list[Ranked]:
        """As `rank`, with the image as `seen` gave it."""
        said = [dict(one) for one in dialog.get("dialog") or []]
        asked = {"question": question, "answer_options": list(candidates)}
        split = from_dialogs(
            [{"image_id": 0, "caption": dialog.get("caption", ""), "dialog": [*said, asked]}], "dialog"
        )
        found = self.scores(split, np.array([split.rounds - 1]), seen)[0]
        order = np.argsort(-found, kind="stable").tolist()
        return [Ranked(candidates[place], float(found[place])) for place in order]

    @torch.no_grad()
    def scores(self, split: VisDialSplit, rounds: np.ndarray, seen: ImageInput | None) -> list[np.ndarray]:
        """The scores of all options of some rounds, an array for each.

        Args:
            split: dialogs. rounds: (B,) places in it. seen: the image of each round, B of them, or one for all.
        """
        encoder = DialogEncoder(split, self.words, **self.rules)
        rows, first = encoder.options(rounds)
        tokens, segments = (torch.from_numpy(array).to(self.device) for array in encoder.padded(rows))
        lengths = torch.from_numpy(rows.lengths).to(self.device)
        mask = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        given: list[Tensor] = []
        if seen is not None:
            own = np.arange(len(rounds)) if len(seen.feats) > 1 else np.zeros(len(rounds), np.int64)
            image = torch.from_numpy(np.repeat(own, np.diff(first)))
            given = [tensor.to(self.device) for tensor in (*seen, image)]
        found = score(alignment_in_parts(self.model, tokens, segments, mask, *given)).cpu().numpy()
        return [found[start:stop] for start, stop in zip(first.tolist(), first[1:].tolist())]

    def seen(
        self,
        features: np.ndarray | Tensor | None,
        boxes: np.ndarray | Tensor | None,
        size: tuple[float, float] | None,
    ) -> ImageInput | None:
        """One image as the model sees it; None for a model without eyes."""
        if not self.sees:
            return None
        if features is None:
            raise UserError("features: none were given, but the model looks at regions: give (regions, numbers)")
        feats = torch.as_tensor(np.asarray(features, np.float32))[: self.max_regions]
        if feats.ndim != 2 or not len(feats) or feats.shape[1] != self.feature_dim:
            found = tuple(feats.shape)
            raise UserError(f"features have the shape {found}, expected (regions, {self.feature_dim}), one or more")
        if not torch.isfinite(feats).all():
            raise UserError("features hold NaN or infinite numbers: extract them again (limner features check FILE)")
        if (boxes is None) != (size is None):
            raise UserError("boxes and size belong together: pixels, and the image's width and height")
        if boxes is None or size is None:
            places, size = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(feats), 4), (1.0, 1.0)
        else:
            places = torch.as_tensor(np.asarray(boxes, np.float32))[: len(feats)]
        if places.shape != (len(feats), 4):
            raise UserError(f"boxes have the shape {tuple(places.shape)}, expected ({len(feats)}, 4)")
        mask = torch.ones(1, len(feats), dtype=torch.bool)
        return with_whole_image(feats[None], places[None], mask, torch.tensor([size]), regions=None)
