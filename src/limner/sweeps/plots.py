"""Plots of a search as inline SVG: the way it went, each parameter, all of them together, every job's validations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from limner.reports.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, figure, shown, ticks
from limner.sweeps.leaderboard import Board, Job, numbers_of, short

LOG = 20
"""A range whose ends are further apart than this factor is drawn in equal ratios."""


class Axis(NamedTuple):
    """Where the values of a parameter stand."""

    places: dict[int, float]  #: job number -> place
    marks: list[tuple[float, str]]  #: places with a label


def axis_of(jobs: Sequence[Job], name: str) -> Axis:
    """Numbers in their order, in equal ratios when they are far apart; words side by side."""
    numbers = numbers_of(jobs, name)
    if numbers:
        low, high = min(numbers.values()), max(numbers.values())
        if low > 0 and high / low > LOG:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [(float(power), shown(10.0**power)) for power in powers]
            return Axis({job: math.log10(value) for job, value in numbers.items()}, inside(marks, low, high))
        return Axis(dict(numbers), [(value, shown(value)) for value in ticks(low, high)])
    words = sorted({job.parameters[name] for job in jobs if name in job.parameters})
    places = {job.number: float(words.index(job.parameters[name])) for job in jobs if name in job.parameters}
    return Axis(places, [(float(k), short(word)[:16]) for k, word in enumerate(words)])


def inside(marks: list[tuple[float, str]], low: float, high: float) -> list[tuple[float, str]]:
    """The powers of ten between the ends, and the ends where there are fewer than two of them."""
    found = [mark for mark in marks if math.log10(low) - 1e-9 <= mark[0] <= math.log10(high) + 1e-9]
    return found if len(found) > 1 else [(math.log10(end), shown(end)) for end in (low, high)]


def dots(frame: Frame, jobs: Sequence[Job], at: dict[int, float], objective: int, best: Sequence[Job]) -> list[str]:
    """A dot a job; its number and value show under the pointer."""
    out = []
    for job in jobs:
        if job.values is None or job.number not in at:
            continue
        x, y = frame.at(at[job.number], job.values[objective])
        kind, size = ("best", 4.5) if job in best else ("dot", 3)
        out.append(
            f'<circle class="{kind}" r="{size}" cx="{x}" cy="{y}">'
            f"<title>job {job.number}: {job.values[objective]:.4g}</title></circle>"
        )
    return out


def framed(places: Sequence[float], values: Sequence[float]) -> Frame:
    """A frame with some room on all sides."""

    def wide(found: Sequence[float]) -> tuple[float, float]:
        low, high = min(found), max(found)
        room = 0.06 * (high - low)
        return low - room, high + room

    return Frame(wide(places), wide(values))


def best_jobs(board: Board) -> list[Job]:
    return [job for job in board.done if job.front]


def history(board: Board, objective: int) -> str:
    """The values in the order of the jobs, with the best so far."""
    name, way = list(board.objectives.items())[objective]
    jobs = sorted(board.done, key=lambda job: job.number)
    at = {job.number: float(job.number) for job in jobs}
    frame = framed(list(at.values()), [job.values[objective] for job in jobs if job.values])
    pick, corners, so_far = (min if way == "min" else max), [], None
    for job in jobs:
        assert job.values is not None
        if so_far is not None:
            corners.append(frame.at(job.number, so_far))
        so_far = job.values[objective] if so_far is None else pick(so_far, job.values[objective])
        corners.append(frame.at(job.number, so_far))
    line = f'<polyline class="line c1" points="{" ".join(f"{x},{y}" for x, y in corners)}"/>'
    drawn = dots(frame, jobs, at, objective, best_jobs(board))
    return figure(f"{name}, best so far", [*frame.axes("job"), line, *drawn], f"best {so_far:.4g}")


def against(board: Board, name: str, objective: int) -> str:
    """The objective against one parameter."""
    axis = axis_of(board.done, name)
    frame = framed([*axis.places.values()], [job.values[objective] for job in board.done if job.values])
    drawn = dots(frame, board.done, axis.places, objective, best_jobs(board))
    return figure(f"{list(board.objectives)[objective]} against {name}", [*frame.axes(name, axis.marks), *drawn])


def trade(board: Board) -> str:
    """Two objectives against each other: the Pareto front stands out."""
    first, second = list(board.objectives)[:2]
    at = {job.number: job.values[0] for job in board.done if job.values}
    frame = framed(list(at.values()), [job.values[1] for job in board.done if job.values])
    return figure(f"{second} against {first}", [*frame.axes(first), *dots(frame, board.done, at, 1, best_jobs(board))])


def parallel(board: Board) -> str:
    """A line a job through all its parameters to its objective; the best quarter is coloured."""
    jobs = [job for job in board.done if set(board.names) <= job.parameters.keys()]
    objective = next(iter(board.objectives))
    values = {job.number: job.values[0] for job in jobs if job.values}
    if len(jobs) < 2 or not board.names:
        return ""
    axes = {name: axis_of(jobs, name) for name in board.names}
    axes[objective] = Axis(
        values, [(value, shown(value)) for value in ticks(min(values.values()), max(values.values()))]
    )
    across = [LEFT + k * (WIDTH - LEFT - RIGHT - 30) / max(len(axes) - 1, 1) for k in range(len(axes))]

    def down(axis: Axis, value: float) -> float:
        low, high = min(axis.places.values()), max(axis.places.values())
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for x, (name, axis) in zip(across, axes.items()):
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(name.split(".")[-1])}</text>')
        for value, label in axis.marks:
            parts.append(f'<text x="{x + 4:.1f}" y="{down(axis, value):.1f}" dy=".32em">{escape(label)}</text>')
    best = board.done[: math.ceil(len(jobs) / 4)]
    for job in sorted(jobs, key=lambda job: job in best):
        points = " ".join(
            f"{x:.1f},{down(axis, axis.places[job.number]):.1f}" for x, axis in zip(across, axes.values())
        )
        kind = "c1" if job in best else "c0"
        parts.append(
            f'<polyline class="line {kind}" stroke-opacity="{0.9 if job in best else 0.35}" points="{points}">'
            f"<title>job {job.number}</title></polyline>"
        )
    return figure("All parameters", parts, "the best quarter stands out")


def validations(board: Board) -> str:
    """The first objective over the epochs of every job; those that the pruner ended stand out."""
    name = next(iter(board.objectives))
    lines = {job.number: (job, job.validations(name)) for job in board.jobs if job.state in ("done", "pruned")}
    lines = {number: found for number, found in lines.items() if found[1]}
    if not lines:
        return ""
    points = [point for _, line in lines.values() for point in line]
    frame = framed([epoch for epoch, _ in points], [value for _, value in points])
    parts = frame.axes("epoch")
    for job, line in lines.values():
        kind = "c1" if job.state == "pruned" else "c0"
        places = [frame.at(*point) for point in line]
        title = f"<title>job {job.number}, {job.state}</title>"
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="line {kind}" stroke-opacity=".6" points="{joined}">{title}</polyline>')
        parts.append(f'<circle class="dot {kind}" r="2.2" cx="{places[-1][0]}" cy="{places[-1][1]}">{title}</circle>')
    ended = sum(job.state == "pruned" for job, _ in lines.values())
    return figure(f"{name} of every job", parts, f"{ended} ended early" if ended else "")
