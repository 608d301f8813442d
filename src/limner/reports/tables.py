"""What the rows of an evaluation say in numbers: by type, confidence against accuracy, confusions. Pure functions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from limner.reports.source import Item

RIGHT = 50.0
"""An answer counts as right from this accuracy (percent): of ten people, at least two gave it."""


class Slice(NamedTuple):
    """The items of one kind."""

    name: str
    items: int
    accuracy: float  #: mean, percent
    margin: float  #: half of the 95 % interval of the mean (normal), percent; 0 for a single item
    cost: float  #: points of the overall accuracy that this kind loses


class Bin(NamedTuple):
    """The items of one range of confidence."""

    low: float
    high: float
    items: int
    confidence: float  #: mean, percent
    accuracy: float  #: mean, percent


class Confusion(NamedTuple):
    said: str  #: what most people said
    answer: str  #: what the model said
    times: int
    asked: int  #: items where most people said that


def slices(items: Sequence[Item], kind: Callable[[Item], str]) -> list[Slice]:
    """The scored items by kind, the most frequent kind first."""
    groups: dict[str, list[float]] = defaultdict(list)
    for one in items:
        if one.accuracy is not None and kind(one):
            groups[kind(one)].append(one.accuracy)
    total = sum(map(len, groups.values()))
    out = []
    for name, values in groups.items():
        count, accuracy = len(values), math.fsum(values) / len(values)
        variance = math.fsum((value - accuracy) ** 2 for value in values) / max(count - 1, 1)
        lost = math.fsum(100 - value for value in values) / total
        out.append(Slice(name, count, accuracy, 1.96 * math.sqrt(variance / count), lost))
    return sorted(out, key=lambda one: (-one.items, one.name))


def calibration(items: Sequence[Item], bins: int = 10) -> list[Bin]:
    """The scored items in `bins` equal ranges of confidence; ranges without items are left out."""
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one in items:
        if one.accuracy is not None and one.confidence is not None:
            groups[min(int(one.confidence * bins), bins - 1)].append((100 * one.confidence, one.accuracy))
    out = []
    for place, pairs in sorted(groups.items()):
        means = [math.fsum(values) / len(pairs) for values in zip(*pairs)]
        out.append(Bin(place / bins, (place + 1) / bins, len(pairs), *means))
    return out


def calibration_error(table: Sequence[Bin]) -> float:
    """Expected calibration error in percent: the mean distance of confidence and accuracy over items.

    Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3; with VQA's accuracy, which may be a fraction.
    """
    total = sum(one.items for one in table)
    return math.fsum(one.items * abs(one.accuracy - one.confidence) for one in table) / total if total else math.nan


def confusions(items: Sequence[Item], show: int = 15) -> list[Confusion]:
    """The most frequent pairs of what most people said and what the model said instead, answers below `RIGHT` only."""
    asked = Counter(one.said for one in items if one.said is not None)
    pairs = Counter(
        (one.said, one.answer)
        for one in items
        if one.said is not None and one.accuracy is not None and one.accuracy < RIGHT and one.answer != one.said
    )
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:show]
    return [Confusion(said, answer, count, asked[said]) for (said, answer), count in ordered]
