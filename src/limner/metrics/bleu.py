"""BLEU (Papineni et al. 2002) as COCO's evaluation computes it, over token ids.

What its numbers depend on, kept here: the reference length of a caption is the closest one, the shorter of two as
close; 1e-15 is added to matches and lengths and 1e-9 to what they are divided by, so that captions without a match get
a tiny number instead of 0; the brevity penalty is exp(1 - 1/ratio) below 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from limner.metrics.ngrams import count
from limner.metrics.references import References, shared
from limner.metrics.sequences import Hypotheses, ImageCaptions, flat, parts

_TINY, _SMALL = 1e-15, 1e-9


class BleuCounts(NamedTuple):
    """What BLEU is made of, for each caption; sums over captions give the BLEU of a corpus."""

    matched: np.ndarray  # (..., n) n-grams also in a reference, each as often as in the reference that has most
    guessed: np.ndarray  # (..., n) n-grams of the caption
    length: np.ndarray  # (...) words of the caption
    reference_length: np.ndarray  # (...) words of the reference closest in length

    def total(self) -> BleuCounts:
        """The counts of the whole corpus."""
        return BleuCounts(*(field.sum(0) for field in self))


def bleu(counts: BleuCounts) -> np.ndarray:
    """BLEU-1..n, float64 (..., n), in 0..1."""
    precision = (counts.matched + _TINY) / (counts.guessed + _SMALL)
    orders = np.arange(1, precision.shape[-1] + 1)
    score = np.cumprod(precision, -1) ** (1 / orders)
    ratio = (counts.length + _TINY) / (counts.reference_length + _SMALL)
    return score * np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)[..., None]


class SentenceBleu:
    """BLEU of single captions against references that are prepared once, as the reward of SCST uses it.

    references: captions by image, or `References` shared with other metrics. n: longest n-gram.
    """

    def __init__(self, references: ImageCaptions | References, *, n: int = 4) -> None:
        self.references = References.fitting(references, n=n)
        self.n = n

    def score(self, hypotheses: Hypotheses, lengths: np.ndarray | None, image: np.ndarray) -> np.ndarray:
        """BLEU-n of each caption, float64 (N,), in 0..1. Arguments and errors as `CiderD.score`."""
        return bleu(self.counts(hypotheses, lengths, image))[:, -1]

    def counts(self, hypotheses: Hypotheses, lengths: np.ndarray | None, image: np.ndarray) -> BleuCounts:
        """The counts of each caption. Arguments and errors as `CiderD.score`."""
        sequences = flat(hypotheses, lengths)
        rows = self.references.captions.rows(image, len(sequences.lengths))
        matched = np.zeros((len(rows), self.n), np.int64)
        closest = np.zeros(len(rows), np.int64)
        for here, part in parts(sequences):
            images, of_row = np.unique(rows[here], return_inverse=True)
            references = self.references.of(images)
            found = count(part, self.n, self.references.base)
            pairs, entries = shared(found, of_row, references)
            times = np.minimum(found.times[pairs], references.times[entries].max(1))
            cell = found.row[pairs] * self.n + found.order[found.ngram[pairs]]
            total = np.bincount(cell, times, minlength=matched[here].size)
            matched[here] = total.reshape(-1, self.n)
            closest[here] = _closest(part.lengths, references.lengths[of_row])
        guessed = np.maximum(sequences.lengths[:, None] - np.arange(self.n), 0)
        return BleuCounts(matched, guessed, sequences.lengths, closest)


def _closest(lengths: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Of the reference lengths (N, R; -1: none) the closest to each length (N,); of two as close the shorter."""
    distance = np.where(references < 0, 1 << 31, abs(references - lengths[:, None]))
    best = distance == distance.min(1, keepdims=True)
    return np.where(best, references, 1 << 31).min(1)
