"""What rows say in numbers, whatever their task: scores by kind and by ranges of a value. Pure functions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from limner.reports.source import I


class Slice(NamedTuple):
    """The scored items of one kind."""

    name: str
    items: int
    score: float  #: mean
    margin: float  #: half of the 95 % interval of the mean (normal); 0 for a single item


def slices(items: Iterable[I], kind: Callable[[I], str]) -> list[Slice]:
    """The scored items by kind, the most frequent kind first; items of kind "" are left out."""
    groups: dict[str, list[float]] = defaultdict(list)
    for one in items:
        name = kind(one)
        if one.score is not None and name:
            groups[name].append(one.score)
    return sorted((one_slice(name, values) for name, values in groups.items()), key=lambda one: (-one.items, one.name))


def one_slice(name: str, values: Sequence[float]) -> Slice:
    count, mean = len(values), math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(count - 1, 1)
    return Slice(name, count, mean, 1.96 * math.sqrt(variance / count))


def by_range(items: Iterable[I], value: Callable[[I], float | None], *, most: int = 8) -> list[Slice]:
    """The scored items by ranges of a value, in order of the value; items without one are left out.

    Args:
        value: a number of an item, whole or not.
        most: how many ranges there are at most; they hold about equally many items.
    """
    pairs = [(found, one.score) for one in items if one.score is not None and (found := value(one)) is not None]
    out = []
    for low, high in ranges([found for found, _ in pairs], most):
        whole = float(low).is_integer() and float(high).is_integer()
        ends = [f"{end:.0f}" if whole else f"{end:.2f}" for end in (low, high)]
        name = ends[0] if ends[0] == ends[1] else " to ".join(ends)
        out.append(one_slice(name, [score for found, score in pairs if low <= found <= high]))
    return out


def ranges(values: Sequence[float], most: int) -> list[tuple[float, float]]:
    """Disjoint ranges (both ends inside) that hold all values, each about equally many, at most `most` of them."""
    counts = sorted(Counter(values).items())
    if len(counts) <= most:
        return [(value, value) for value, _ in counts]
    out: list[tuple[float, float]] = []
    left, held, low = len(values), 0, counts[0][0]
    for place, (value, count) in enumerate(counts):
        held += count
        # the last range takes what is left; any other closes where it holds its share of what is left
        if place == len(counts) - 1 or (len(out) < most - 1 and held >= left / (most - len(out))):
            out.append((low, value))
            left, held = left - held, 0
            low = counts[min(place + 1, len(counts) - 1)][0]
    return out
