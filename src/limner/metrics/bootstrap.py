"""Bootstrap intervals of corpus metrics over images (Efron, Tibshirani 1993; for BLEU Koehn 2004).

BLEU and METEOR of a corpus are no means over images, so that what is drawn again and again are the images' counts: a
sample's score is the score of the sum of its counts. CIDEr, ROUGE-L and SPICE are means; for CIDEr the document
frequencies stay those of the whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Statistic(NamedTuple):
    """What one or more corpus metrics are made of."""

    names: tuple[str, ...]
    each: np.ndarray  #: (N, S) float64 counts of each image
    value: Callable[[np.ndarray], np.ndarray]  #: sums (..., S) -> the metrics (..., len(names)), in 0..1

    def corpus(self) -> dict[str, float]:
        """The metrics of all images, times 100."""
        return dict(zip(self.names, (100 * self.value(self.each.sum(0))).tolist()))


def mean_of(name: str, values: np.ndarray) -> Statistic:
    """A metric that is the mean over images; nan values (N,) do not count."""
    known = ~np.isnan(values)
    return Statistic((name,), np.stack((np.where(known, values, 0.0), known), 1), _mean)


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., :1] / np.maximum(sums[..., 1:], 1)


class Difference(NamedTuple):
    """A metric of a second set of captions less that of a first, times 100."""

    difference: float
    low: float
    high: float


def intervals(
    statistics: Sequence[Statistic], *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of corpus metrics, times 100: `{metric: (low, high)}`.

    The same seed and number of images draw the same images for every metric.
    """
    drawn = _draws(statistics, samples, seed)
    return {name: _ends(values, level) for name, values in drawn.items()}


def compare(
    first: Sequence[Statistic], second: Sequence[Statistic], *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Difference]:
    """Second less first, for the metrics that both have; each sample draws the same images for both.

    Their images must be the same, in the same order. Raises `ValueError` when there are not as many.
    """
    if {len(statistic.each) for statistic in (*first, *second)} - {len(first[0].each)}:
        raise ValueError("the two evaluations have different numbers of images")
    ours, theirs = _draws(first, samples, seed), _draws(second, samples, seed)
    here = {name: value for statistic in first for name, value in statistic.corpus().items()}
    there = {name: value for statistic in second for name, value in statistic.corpus().items()}
    return {
        name: Difference(there[name] - here[name], *_ends(theirs[name] - ours[name], level))
        for name in here
        if name in there
    }


def _draws(statistics: Sequence[Statistic], samples: int, seed: int) -> dict[str, np.ndarray]:
    """Each metric in each sample (samples,), times 100."""
    images = len(statistics[0].each) if statistics else 0
    parts: dict[str, list[np.ndarray]] = {name: [] for statistic in statistics for name in statistic.names}
    for weights in _weights(images, samples, seed):
        for statistic in statistics:
            values = 100 * statistic.value(weights @ statistic.each)
            for name, column in zip(statistic.names, values.T):
                parts[name].append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _weights(images: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn in each sample, a hundred samples at a time (k, images)."""
    rng = np.random.default_rng(seed)
    for start in range(0, samples, 100):
        rows = min(100, samples - start)
        drawn = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
