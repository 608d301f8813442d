"""The paired bootstrap: an interval for the difference of two evaluations of the same items. A pure function."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CELLS = 8_000_000
"""Random numbers drawn at once: 64 MB."""
FEW = 6
"""Values are drawn instead of items where there are so many times fewer of them: one count costs some six draws."""


class Difference(NamedTuple):
    """A paired difference of means, b - a."""

    mean: float
    low: float  #: 95 % interval
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says about b."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, *, groups: np.ndarray | None = None, resamples: int = 2000, seed: int = 0
) -> Difference:
    """The mean of b - a and its 95 % percentile interval over resamples of the items.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3. An item is drawn with both of its
    values. Differences of accuracies take few distinct values; then what is drawn is how often each VALUE comes
    (a multinomial) and not which items: the same distribution, and 200,000 items take no longer than 2,000.

    Args:
        a, b: (N,) values of the same items in the same order, N >= 1.
        groups: (N,) the group of each item: whole groups are drawn, since their items are not independent, e.g. the
            rounds of a dialog. None: every item by itself.
        resamples: how many means the interval is taken from.
        seed: of the random generator; the same seed gives the same interval.

    Raises:
        ValueError: the shapes differ, or there are no items.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"a and b must be two vectors of one length, not {a.shape} and {b.shape}")
    gaps, rng = b - a, np.random.default_rng(seed)
    sums, sizes = gaps, np.ones(len(gaps))
    if groups is not None:
        owner = np.unique(groups, return_inverse=True)[1]
        sums, sizes = np.bincount(owner, gaps), np.bincount(owner).astype(np.float64)
    values, counts = np.unique(gaps, return_counts=True)
    few = groups is None and FEW * len(values) <= len(gaps)
    at_once = max(1, CELLS // len(values if few else sums))
    means = []
    for start in range(0, resamples, at_once):
        drawn = min(at_once, resamples - start)
        if few:
            means.append(rng.multinomial(len(gaps), counts / len(gaps), size=drawn) @ values / len(gaps))
        else:
            chosen = rng.integers(len(sums), size=(drawn, len(sums)))
            means.append(sums[chosen].sum(1) / sizes[chosen].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Difference(float(gaps.mean()), float(low), float(high))
