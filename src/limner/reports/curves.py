"""Curves as inline SVG of what metrics.jsonl holds. No library, no script."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from limner.reports.page import Html, text
from limner.reports.source import number, read_metrics

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 16, 34
POINTS = 400
"""A curve is drawn with at most so many points; more are averaged in equal pieces."""
COLOURS = 8
"""So many curves of one figure have colours of their own."""


class Point(NamedTuple):
    step: float
    value: float
    epoch: int | None = None  #: counted from 0, as logged


class Panel(NamedTuple):
    """Logged values that are drawn in one plot."""

    title: str
    names: tuple[str, ...]


class Phase(NamedTuple):
    """A later phase of the training."""

    name: str
    step: float  #: where it begins


def series(path: Path) -> dict[str, list[Point]]:
    """Every logged value of a metrics.jsonl by name, in order of steps; NaN and lines without a step are left out."""
    out: dict[str, list[Point]] = defaultdict(list)
    for line in read_metrics(path):
        step, epoch = number(line.get("step")), number(line.get("epoch"))
        for name, given in line.items():
            value = number(given)
            if step is not None and value is not None and name not in ("step", "epoch"):
                out[name].append(Point(step, value, None if epoch is None else int(epoch)))
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

    def axes(self, x_label: str, marks: Sequence[tuple[float, str]] | None = None) -> list[str]:
        """The grid, the labels of both axes, the name of the lower one; marks: its places and labels, not numbers."""
        out = []
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{shown(value)}</text>')
        for value, name in [(value, shown(value)) for value in ticks(*self.x)] if marks is None else marks:
            x, _ = self.at(value, self.y[0])
            out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(name)}</text>')
        out.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
        )
        return out


def widened(span: tuple[float, float]) -> tuple[float, float]:
    """A span that is wider than nothing."""
    low, high = span
    return span if high > low else (low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5)


def figure(title: str, parts: Iterable[str], note: str = "") -> str:
    caption = f"<figcaption><b>{escape(title)}</b>{' ' if note else ''}{text(note)}</figcaption>"
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    return f"<figure>{caption}{head}{''.join(parts)}</svg></figure>"


def curve(title: str, points: Sequence[Point], *, mark: Point | None = None, phase: Phase | None = None) -> str:
    """One curve over optimiser steps, as a `<figure>`.

    Args:
        title: stands above it.
        points: at least one.
        mark: the point to mark as the best one.
        phase: a later phase of the training, marked where it begins.
    """
    frame, lines = framed([points], [mark] if mark else [])
    parts = [*frame.axes("step"), *beginning(frame, phase), *line_of(frame, lines[0])]
    note = f"last {shown(points[-1].value)}"
    if mark is not None:
        x, y = frame.at(mark.step, mark.value)
        where = "" if mark.epoch is None else f" in epoch {mark.epoch + 1}"
        note = f"best {mark.value:.2f}{where}"
        parts.append(f'<line class="best" x1="{x}" x2="{x}" y1="{y}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<circle class="best" r="4.5" cx="{x}" cy="{y}"><title>{escape(note)}</title></circle>')
    return figure(title, parts, note)


def together(title: str, several: Mapping[str, Sequence[Point]], *, phase: Phase | None = None) -> str:
    """Several curves in one `<figure>`, named in its caption by their colours.

    Args:
        several: name -> points; the colours repeat after `COLOURS`. One without points keeps its colour for itself.
    """
    frame, lines = framed(list(several.values()))
    parts = [*frame.axes("step"), *beginning(frame, phase)]
    alike = {name.split("/")[0] for name in several}  # of `train/length` and `train/ended` the beginning says nothing
    short = {name: name.split("/", 1)[-1] if len(alike) == 1 else name for name in several}
    names = []
    for k, (name, line) in enumerate(zip(several, lines)):
        if not line:
            continue
        parts += line_of(frame, line, f" c{k % COLOURS}")
        names.append(f'<span class="key c{k % COLOURS}">{escape(short[name])} {shown(several[name][-1].value)}</span>')
    return figure(title, parts, Html("last: " + ", ".join(names)))


def framed(several: Sequence[Sequence[Point]], more: Sequence[Point] = ()) -> tuple[Frame, list[list[Point]]]:
    """The frame that holds several curves and more points, and the curves as they are drawn."""
    lines = [thinned(points) for points in several]
    values = [point.value for line in (*lines, more) for point in line]
    steps = [point.step for line in lines for point in line]
    span = widened((min(values), max(values)))
    room = 0.06 * (span[1] - span[0])
    low = 0.0 if span[0] >= 0 > span[0] - room else span[0] - room
    return Frame((min(0.0, *steps), max(steps)), (low, span[1] + room)), lines


def line_of(frame: Frame, line: Sequence[Point], kind: str = "") -> list[str]:
    places = [frame.at(point.step, point.value) for point in line]
    parts = []
    if len(places) > 1:
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="line{kind}" points="{joined}"/>')
    if len(places) <= 40:
        parts += [f'<circle class="dot{kind}" r="2.2" cx="{x}" cy="{y}"/>' for x, y in places]
    return parts


def beginning(frame: Frame, phase: Phase | None) -> list[str]:
    """Where a later phase of the training begins, if the frame shows it."""
    if phase is None or not frame.x[0] < phase.step < frame.x[1]:
        return []
    x, _ = frame.at(phase.step, frame.y[0])
    line = f'<line class="ideal" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    side, off = ("end", -4) if phase.step > sum(frame.x) / 2 else ("start", 4)
    return [line, f'<text x="{x}" dx="{off}" y="{TOP + 4}" text-anchor="{side}">{escape(phase.name)}</text>']


def curves(
    logged: Mapping[str, Sequence[Point]],
    monitor: str,
    mode: str,
    panels: Sequence[Panel] = (),
    phase: tuple[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """The training loss, the monitored value and the panels, each as a figure; and all others but those of tests.

    Args:
        logged: from `series`.
        monitor, mode: the value whose best point is marked, and whether that is the max or the min.
        panels: values that are drawn together; a value may also be the monitored one.
        phase: name of a later phase of the training, and a value that is logged from its first step on.
    """
    loss = "train/loss" if "train/loss" in logged else next((n for n in logged if n.startswith("train/")), None)
    single = [name for name in dict.fromkeys((loss, monitor)) if name in logged]
    marked = begun(logged, phase)
    first = [
        curve(n, logged[n], mark=best_of(logged[n], mode) if n == monitor else None, phase=marked) for n in single if n
    ]
    held: set[str | None] = set(single)
    for panel in panels:
        several = [name for name in panel.names if name in logged]
        if set(several) - held:  # a panel of nothing but curves that stand above says nothing new
            first += drawn([panel], logged, marked)
        held |= set(several)
    # what is logged once, after the training, is no curve
    others = [name for name in logged if name not in held and name.startswith(("train/", "val/"))]
    return first, [curve(name, logged[name], phase=marked) for name in others]


def drawn(
    panels: Iterable[Panel], logged: Mapping[str, Sequence[Point]], phase: Phase | None = None, *, titled: bool = False
) -> list[str]:
    """A figure for each panel of which something is logged.

    Args:
        titled: a panel with one curve keeps its title; else it is called as the curve is logged.
    """
    out = []
    for panel in panels:
        several = {name: logged[name] for name in panel.names if name in logged}
        if len(several) == 1:
            ((name, points),) = several.items()
            out.append(curve(panel.title if titled else name, points, phase=phase))
        elif several:
            out.append(together(panel.title, several, phase=phase))
    return out


def begun(logged: Mapping[str, Sequence[Point]], phase: tuple[str, str] | None) -> Phase | None:
    """Where a later phase began; None: it did not, or the run has nothing else."""
    if phase is None or not logged.get(phase[1]):
        return None
    step = logged[phase[1]][0].step
    earlier = any(points[0].step < step for name, points in logged.items() if name.startswith("train/"))
    return Phase(phase[0], step) if earlier else None
