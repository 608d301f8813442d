"""Confidence against accuracy of answers, and which answers are confused. Pure functions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from limner.reports.curves import Frame, figure

if TYPE_CHECKING:
    from limner.reports.tasks.vqa import VQAItem

RIGHT = 50.0
"""An answer counts as right from this accuracy (percent): of ten people, at least two gave it."""


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


def calibration(items: Sequence[VQAItem], bins: int = 10) -> list[Bin]:
    """The scored items in `bins` equal ranges of confidence; ranges without items are left out."""
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one in items:
        if one.score is not None and one.confidence is not None:
            groups[min(int(one.confidence * bins), bins - 1)].append((100 * one.confidence, one.score))
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


def confusions(items: Sequence[VQAItem], show: int = 15) -> list[Confusion]:
    """The most frequent pairs of what most people said and what the model said instead, answers below `RIGHT` only."""
    asked = Counter(one.said for one in items if one.said is not None)
    pairs = Counter(
        (one.said, one.answer)
        for one in items
        if one.said is not None and one.score is not None and one.score < RIGHT and one.answer != one.said
    )
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:show]
    return [Confusion(said, answer, count, asked[said]) for (said, answer), count in ordered]


def reliability(table: Sequence[Bin]) -> str:
    """Accuracy over confidence, a dot a range whose area is its share of the items; the diagonal is perfect."""
    frame = Frame((0, 100), (0, 100))
    (x0, y0), (x1, y1) = frame.at(0, 0), frame.at(100, 100)
    parts = [*frame.axes("confidence, %"), f'<line class="ideal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>']
    places = [",".join(frame.at(one.confidence, one.accuracy)) for one in table]
    parts.append(f'<polyline class="line" points="{" ".join(places)}"/>')
    total = sum(one.items for one in table)
    for one, place in zip(table, places):
        x, y = place.split(",")
        told = f"{one.items:,} items: confidence {one.confidence:.1f} %, accuracy {one.accuracy:.1f} %"
        radius = max(2.0, 22 * math.sqrt(one.items / total))
        parts.append(f'<circle class="share" r="{radius:.1f}" cx="{x}" cy="{y}"><title>{told}</title></circle>')
    return figure("accuracy, %", parts, "over the confidence of the first answer")
