"""Writes captions of regions with one packaged model or several. Needs neither Hydra nor Lightning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from limner.data.caption_words import CaptionVocabulary
from limner.data.features.together import open_stores
from limner.decode import Beam, Decoded
from limner.errors import UserError
from limner.inference.ensembles import refuse_other_features
from limner.metrics.rows import Row
from limner.models.caption_ensemble import CaptionEnsemble
from limner.submit_captions import write_caption_submission
from limner.weights.package import Package


class Caption(NamedTuple):
    """text: the best caption. logp: its log-probability, end included. words: of the text.
    ended: it has an end, and was not cut at the greatest length. attention: (words, R) weight of each region for each
    word. beams: (text, logp) of all found, best first."""

    text: str
    logp: float
    words: list[str]
    ended: bool
    attention: np.ndarray | None
    beams: list[tuple[str, float]]


def one_model(packages: Sequence[Package]) -> nn.Module:
    """The model of one package, or the ensemble of several.

    Raises:
        UserError: the packages differ in words or features, so that their predictions cannot be averaged.
    """
    first = packages[0]
    for number, other in enumerate(packages[1:], start=2):
        if other.vocab["words"] != first.vocab["words"]:
            raise UserError(f"model: package {number} has other words than package 1: they cannot write together")
    refuse_other_features(packages)
    return first.model if len(packages) == 1 else CaptionEnsemble([package.model for package in packages])


class Captioner:
    """Captions of given regions.

    Args:
        packages: one, or several with the same words: an ensemble.
        device: where to compute.
        decode: a decoder of `limner.decode`; None: a beam of 5.
    """

    def __init__(self, packages: Sequence[Package], *, device: str = "cpu", decode: Any = None):
        self.package = packages[0]
        self.device = torch.device(device)
        self.model: Any = one_model(packages).eval().to(self.device)
        self.vocabulary = CaptionVocabulary(self.package.vocab["words"])
        self.decode = decode or Beam(attention=True)
        self.feature_dim = int(self.package.sizes["feature_dim"])
        self.global_dim = int(self.package.sizes.get("global_dim", 0))
        self.geometry = any(package.sizes.get("geometry") for package in packages)

    def caption(
        self,
        features: np.ndarray | Tensor,
        *,
        boxes: np.ndarray | Tensor | None = None,
        size: tuple[float, float] | None = None,
        given: np.ndarray | Tensor | None = None,
    ) -> Caption:
        """The caption of one image.

        Args:
            features: (R, D) regions.
            boxes: (R, 4) x1, y1, x2, y2 in pixels, and size: width and height; for a model with box geometry.
            given: (G,) global vector, for a model that wants one.
        """
        feats = torch.as_tensor(np.asarray(features))[None]
        if feats.ndim != 3 or not feats.shape[1]:
            found = tuple(feats.shape[1:])
            raise UserError(f"features have the shape {found}, expected (regions, numbers) with one region or more")
        more = {"boxes": boxes, "size": size, "given": given}
        tensors = {
            k: torch.as_tensor(np.asarray(v), dtype=torch.float32)[None] for k, v in more.items() if v is not None
        }
        mask = torch.ones(feats.shape[:2], dtype=torch.bool)
        return self.batch(feats if feats.is_floating_point() else feats.float(), mask, **tensors)[0]

    @torch.no_grad()
    def batch(self, feats: Tensor, mask: Tensor, **more: Tensor) -> list[Caption]:
        """Captions of I images.

        Args:
            feats: (I, R, D). mask: (I, R), True where there is a region.
            more: boxes (I, R, 4), size (I, 2), given (I, G), where the model wants them.

        Raises:
            UserError: regions of another size than the model was trained on, or numbers that are not finite.
        """
        if feats.shape[-1] != self.feature_dim:
            raise UserError(f"features have {feats.shape[-1]} numbers a region, the model expects {self.feature_dim}")
        if not torch.isfinite(feats).all():
            raise UserError("features hold NaN or infinite numbers: extract them again (limner features check FILE)")
        moved = {name: tensor.to(self.device) for name, tensor in more.items()}
        state = self.model.begin(feats.to(self.device), mask.to(self.device), **moved)
        words = len(self.vocabulary)
        decoded = self.decode(self.model.step, state, words=words, vocabulary=self.vocabulary)
        return captions(decoded, mask, self.vocabulary)


def captions(decoded: Decoded, mask: Tensor, vocabulary: CaptionVocabulary) -> list[Caption]:
    """What a decoder found, as texts."""
    texts, logps = decoded.texts(vocabulary), decoded.logp.tolist()
    ended = (decoded.tokens[:, 0] == vocabulary.eos).any(1).tolist()
    regions = mask.sum(1).tolist()
    maps = None if decoded.attention is None else decoded.attention[:, 0].float().cpu().numpy()
    made = []
    for image, (found, scores) in enumerate(zip(texts, logps)):
        words = found[0].split()
        attention = None if maps is None else maps[image, : len(words), : regions[image]]
        beams = [(text, score) for text, score in zip(found, scores) if score > -np.inf]
        made.append(Caption(found[0], scores[0], words, ended[image], attention, beams))
    return made


def row_of(image: int, caption: Caption, *, detailed: bool) -> Row:
    """The row of an image: `id`, `image_id`, `caption`, `logp`, `ended`.

    Detailed also `tokens`, `attention` (a list of weights, one a region, for each word), and `beams` (caption and
    log-probability, best first) when the decoder returned several captions.
    """
    row: Row = {"id": image, "image_id": image, "caption": caption.text, "logp": round(caption.logp, 6)}
    row["ended"] = caption.ended
    if not detailed:
        return row
    row["tokens"] = caption.words
    if caption.attention is not None:
        row["attention"] = [[round(a, 5) for a in word] for word in caption.attention.tolist()]
    if len(caption.beams) > 1:
        row["beams"] = [[text, round(logp, 6)] for text, logp in caption.beams]
    return row


def trial(package: Package, features: np.ndarray, *, device: str) -> str:
    """Writes one caption of (R, D) features, for `limner load`; what was done, in words."""
    captioner = Captioner([package], device=device)
    more: dict[str, Any] = {}
    if captioner.geometry:
        more = {"boxes": np.tile(np.array([0, 0, 1, 1], np.float32), (len(features), 1)), "size": (1.0, 1.0)}
    if captioner.global_dim:
        more["given"] = np.zeros(captioner.global_dim, np.float32)
    return f"a caption is written ({captioner.caption(features, **more).text!r})"


Predictor = Captioner
SUBMISSION = write_caption_submission


def predict(captioner: Captioner, store: Any, config: Any) -> tuple[Iterator[Row], int]:
    """Rows of the images asked for, in their order, and how many."""
    if config.questions is not None:
        raise UserError("questions: the model writes captions, it answers none; leave questions= out")
    if config.get("decode") is not None:
        from hydra.utils import instantiate

        captioner.decode = instantiate(config.decode, _convert_="all")
    captioner.decode = replace(captioner.decode, attention=True)
    if config.beams and hasattr(captioner.decode, "keep"):
        captioner.decode = replace(captioner.decode, keep=None)
    ids = store.image_ids if config.images is None else np.array([int(number) for number in config.images], np.int64)
    vectors = global_vectors(captioner, config.global_features)
    return rows(captioner, store, ids, config.batch_size, beams=config.beams, vectors=vectors), len(ids)


def global_vectors(captioner: Captioner, paths: Any) -> Any:
    """The store of global vectors; None for a model that takes the mean of the regions.

    Raises:
        UserError: there is none but the model wants one, or the other way round, or its vectors have another size.
    """
    wanted = captioner.global_dim
    if not wanted or not paths:
        if wanted:
            raise UserError(f"global_features: must be given: the model wants a vector of {wanted} numbers an image")
        if paths:
            raise UserError("global_features: the model takes the mean of the regions: leave it out")
        return None
    store = open_stores([paths] if isinstance(paths, str) else list(paths))
    if store.dim != wanted:
        raise UserError(f"global_features: vectors of {store.dim} numbers, but the model wants {wanted}")
    return store


def rows(
    captioner: Captioner, store: Any, ids: np.ndarray, batch_size: int, *, beams: bool, vectors: Any = None
) -> Iterator[Row]:
    """A row an image: caption, log-probability, words, attention; every beam when it is asked for."""
    positions = store.positions(ids)
    places = vectors.positions(ids) if vectors is not None else None
    for start in range(0, len(ids), batch_size):
        part = positions[start : start + batch_size]
        regions = store.read(part)
        more: dict[str, Tensor] = {}
        if captioner.geometry:
            sizes = torch.tensor([store.size(int(position)) for position in part], dtype=torch.float32)
            more = {"boxes": torch.from_numpy(regions.boxes), "size": sizes}
        if places is not None:
            given = vectors.read(places[start : start + batch_size]).feats[:, 0]
            more["given"] = torch.from_numpy(given.astype(np.float32))
        found = captioner.batch(torch.from_numpy(regions.feats), torch.from_numpy(regions.mask), **more)
        for image, caption in zip(ids[start : start + batch_size].tolist(), found):
            yield row_of(image, caption if beams else caption._replace(beams=[]), detailed=True)
