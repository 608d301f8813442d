"""Curves as inline SVG: what metrics.jsonl holds, and confidence against accuracy. No library, no script."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from limner.reports.source import number
from limner.reports.tables import Bin

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 16, 34
POINTS = 400
"""A curve is drawn with at most so many points; more are averaged in equal pieces."""


class Point(NamedTuple):
    step: float
    value: float
    epoch: int | None = None  #: counted from 0, as logged


def series(path: Path) -> dict[str, list[Point]]:
    """Every logged value of a metrics.jsonl by name, in order of steps; half-written lines and NaN are left out."""
    out: dict[str, list[Point]] = defaultdict(list)
    if not path.is_file():
        return out
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if not isinstance(line, dict) or number(line.get("step")) is None:
            continue
        epoch = number(line.get("epoch"))
        for name, value in line.items():
            if name not in ("step", "epoch") and number(value) is not None:
                out[name].append(Point(line["step"], float(value), None if epoch is None else int(epoch)))
    return {name: sorted(points, key=lambda point: point.step) for name, points in out.items()}


def best_of(points: Sequence[Point], mode: str) -> Point | None:
    """The best point, the first one of equals. mode: max or min."""
    if not points:
        return None
    sign = -1 if mode == "min" else 1
    return max(points, key=lambda point: (sign * point.value, -point.step))


def thinned(points: Sequence[Point], most: int = POINTS) -> list[Point]:
    """At most `most` points: means of pieces of equal length."""
    if len(points) <= most:
        return list(points)
    edges = [round(k * len(points) / most) for k in range(most + 1)]
    pieces = [points[a:b] for a, b in pairwise(edges)]
    return [
        Point(math.fsum(p.step for p in piece) / len(piece), math.fsum(p.value for p in piece) / len(piece))
        for piece in pieces
    ]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside low..high, at most `most` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [round(k * apart, 12) for k in range(first, last + 1)]


def shown(value: float) -> str:
    """A number as short as a label may be: 1200 -> 1.2k, 0.30000 -> 0.3."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


class Frame:
    """A plot's frame: turns values into places, and draws the axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]):
        self.x, self.y = widened(x), widened(y)

    def at(self, x: float, y: float) -> tuple[str, str]:
        across = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f}", f"{down:.1f}"

    def axes(self, x_label: str) -> list[str]:
        out = []
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{shown(value)}</text>')
        for value in ticks(*self.x):
            x, _ = self.at(value, self.y[0])
            out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{shown(value)}</text>')
        out.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
        )
        return out


def widened(span: tuple[float, float]) -> tuple[float, float]:
    """A span that is wider than nothing."""
    low, high = span
    return span if high > low else (low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5)


def figure(title: str, parts: Iterable[str], note: str = "") -> str:
    caption = f"<figcaption><b>{escape(title)}</b>{f' {escape(note)}' if note else ''}</figcaption>"
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    return f"<figure>{caption}{head}{''.join(parts)}</svg></figure>"


def curve(title: str, points: Sequence[Point], *, mark: Point | None = None) -> str:
    """One curve over optimiser steps, as a `<figure>`.

    Args:
        title: stands above it.
        points: at least one.
        mark: the point to mark as the best one.
    """
    line = thinned(points)
    values = [point.value for point in line] + ([mark.value] if mark else [])
    span = widened((min(values), max(values)))
    room = 0.06 * (span[1] - span[0])
    low = 0.0 if span[0] >= 0 > span[0] - room else span[0] - room
    frame = Frame((min(0.0, line[0].step), line[-1].step), (low, span[1] + room))
    parts = frame.axes("step")
    places = [",".join(frame.at(point.step, point.value)) for point in line]
    if len(places) > 1:
        parts.append(f'<polyline class="line" points="{" ".join(places)}"/>')
    if len(places) <= 40:
        parts += ['<circle class="dot" r="2.2" cx="{}" cy="{}"/>'.format(*place.split(",")) for place in places]
    note = f"last {shown(points[-1].value)}"
    if mark is not None:
        x, y = frame.at(mark.step, mark.value)
        where = "" if mark.epoch is None else f" in epoch {mark.epoch + 1}"
        note = f"best {mark.value:.2f}{where}"
        parts.append(f'<line class="best" x1="{x}" x2="{x}" y1="{y}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<circle class="best" r="4.5" cx="{x}" cy="{y}"><title>{escape(note)}</title></circle>')
    return figure(title, parts, note)


def curves(logged: Mapping[str, Sequence[Point]], monitor: str, mode: str) -> tuple[list[str], list[str]]:
    """The first training loss and the monitored value, each as a figure; and all others but those of tests."""
    loss = next((name for name in logged if name.startswith("train/")), None)
    first = [name for name in (loss, monitor) if name in logged]
    # what is logged once, after the training, is no curve
    others = [name for name in logged if name not in first and name.startswith(("train/", "val/"))]
    marked = [curve(n, logged[n], mark=best_of(logged[n], mode) if n == monitor else None) for n in first if n]
    return marked, [curve(name, logged[name]) for name in others]


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
        tip = f"{one.items:,} items: confidence {one.confidence:.1f} %, accuracy {one.accuracy:.1f} %"
        radius = max(2.0, 22 * math.sqrt(one.items / total))
        parts.append(f'<circle class="share" r="{radius:.1f}" cx="{x}" cy="{y}"><title>{tip}</title></circle>')
    return figure("accuracy, %", parts, "over the confidence of the first answer")
