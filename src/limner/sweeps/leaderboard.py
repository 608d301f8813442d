"""All jobs of a sweep in one table, best first, from what their folders say."""

from __future__ import annotations

import csv
import io
import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limner.files import write_whole
from limner.reports.source import read_json, read_metrics
from limner.reports.text_table import markdown

SEED = "seed"
ORDER = ("done", "unscored", "pruned", "failed", "lost")


@dataclass
class Job:
    """One job: how it ended, and what made it different."""

    number: int
    folder: Path
    state: str
    overrides: list[str] | None  #: None: it was lost
    config_dirs: list[str] | None
    values: list[float] | None
    seconds: float | None
    parameters: dict[str, str] = field(default_factory=dict)  #: those in which the jobs of the sweep differ
    front: bool = False  #: no other job is better in every objective

    @property
    def command(self) -> str:
        """The command line of this configuration."""
        dirs = [f"--config-dir={folder}" for folder in self.config_dirs or []]
        return shlex.join(["limner", "train", *dirs, *(self.overrides or [])])

    def validations(self, name: str) -> list[tuple[int, float]]:
        """`(epochs done, value)` of a metric."""
        lines = read_metrics(self.folder / "metrics.jsonl")
        return [(int(line["epoch"]) + 1, float(line[name])) for line in lines if line.get(name) is not None]


@dataclass
class Board:
    """The jobs of a sweep, best first."""

    folder: Path
    objectives: dict[str, str]  #: name -> max or min
    jobs: list[Job]
    names: list[str]  #: of the parameters

    @property
    def done(self) -> list[Job]:
        return [job for job in self.jobs if job.state == "done"]

    @property
    def failed(self) -> bool:
        return any(job.state == "failed" for job in self.jobs)


def read_board(folder: Path) -> Board:
    """Reads SWEEP/*/job.json."""
    jobs: list[Job] = []
    searched = read_json(folder / "sweep.json")
    objectives = dict(searched.get("objectives") or [])
    paths = sorted(folder.glob("*/job.json"), key=lambda path: (len(path.parent.name), path.parent.name))
    for place, path in enumerate(paths):
        name = path.parent.name  # a number, unless hydra.sweep.subdir says otherwise
        found = read_json(path)
        objectives = objectives or found.get("objectives") or {}
        words, dirs, values, seconds = (found.get(key) for key in ("overrides", "config_dirs", "values", "seconds"))
        jobs.append(
            Job(int(name) if name.isdecimal() else place, path.parent, found["state"], words, dirs, values, seconds)
        )
    names = name_parameters(jobs, list(searched.get("parameters") or {}))
    signs = [1 if way == "min" else -1 for way in objectives.values()]
    for job in jobs:
        job.front = job.values is not None and not any(
            dominates(other.values, job.values, signs) for other in jobs if other.values is not None
        )
    several = len(signs) > 1

    def rank(job: Job) -> tuple:
        values = [sign * value for sign, value in zip(signs, job.values or [])]
        return (ORDER.index(job.state), several and not job.front, values, job.number)

    return Board(folder, objectives, sorted(jobs, key=rank), names)


def name_parameters(jobs: Sequence[Job], searched: list[str]) -> list[str]:
    """Gives each job its parameters: what is searched, or else the overrides in which the jobs differ; their names."""
    said = {job.number: dict(word.partition("=")[::2] for word in job.overrides) for job in jobs if job.overrides}
    every = dict.fromkeys(name for words in said.values() for name in words)
    names = searched or [name for name in every if len({words.get(name) for words in said.values()}) > 1]
    for job in jobs:
        words = said.get(job.number, {})
        job.parameters = {name: words[name] for name in names if name in words}
    return names


def dominates(one: Sequence[float], other: Sequence[float], signs: Sequence[int]) -> bool:
    """Is one job better than another in some objective and worse in none? signs: 1 where smaller is better."""
    pairs = [(sign * a, sign * b) for sign, a, b in zip(signs, one, other)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def over_seeds(board: Board) -> tuple[list[str], list[list[str]]] | None:
    """The same configuration with several seeds: mean and deviation of the first objective, best mean first."""
    if SEED not in board.names:
        return None
    groups: dict[tuple[str, ...], list[float]] = {}
    others = [name for name in board.names if name != SEED]
    for job in board.done:
        assert job.values is not None
        groups.setdefault(tuple(job.parameters.get(name, "") for name in others), []).append(job.values[0])
    if not any(len(values) > 1 for values in groups.values()):
        return None
    name, way = next(iter(board.objectives.items()))
    sign = 1 if way == "min" else -1
    rows = []
    for key, values in sorted(groups.items(), key=lambda group: sign * statistics.fmean(group[1])):
        deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""
        rows.append([f"{statistics.fmean(values):.4f}", deviation, str(len(values)), *map(short, key)])
    return [f"#mean {name}", "#deviation", "#seeds", *others], rows


def table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the leaderboard; the Pareto front is marked where there are several objectives."""
    several = len(board.objectives) > 1
    head = ["#", *(f"#{name}" for name in board.objectives), *(["front"] if several else []), "job", *board.names]
    rows = []
    for place, job in enumerate(board.jobs, 1):
        values = (
            [f"{value:.4f}" for value in job.values] if job.values else [job.state, *[""] * (len(board.objectives) - 1)]
        )
        marked = [("*" if job.front else "")] if several else []
        cells = [short(job.parameters.get(name, "")) for name in board.names]
        rows.append([str(place) if job.values else "", *values, *marked, job.folder.name, *cells])
    return head, rows


def best_lines(board: Board) -> list[str]:
    """What to type for the best configuration, or for those of the Pareto front."""
    if not board.done:
        return ["no job finished"]
    chosen = [job for job in board.done if job.front] if len(board.objectives) > 1 else board.done[:1]
    return [job.command for job in chosen]


def write(board: Board) -> list[str]:
    """Writes SWEEP/leaderboard.md and .csv; the lines of the first."""
    lines = markdown(*table(board))
    seeds = over_seeds(board)
    if seeds is not None:
        lines += ["", "The same configuration with several seeds:", "", *markdown(*seeds)]
    title = "Pareto front:" if len(board.objectives) > 1 else "Best configuration:"
    lines += ["", title, "", "```", *best_lines(board), "```"]
    write_whole(board.folder / "leaderboard.md", "\n".join(lines) + "\n")
    write_whole(board.folder / "leaderboard.csv", as_csv(board))
    return lines


def as_csv(board: Board) -> str:
    """All digits, for other programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["place", "job", "state", *board.objectives, "front", "seconds", *board.names])
    for place, job in enumerate(board.jobs, 1):
        values: Sequence[Any] = job.values or [""] * len(board.objectives)
        cells = [job.parameters.get(name, "") for name in board.names]
        writer.writerow([place, job.folder.name, job.state, *values, int(job.front), job.seconds, *cells])
    return out.getvalue()


def short(value: Any) -> str:
    """A parameter as a table shows it: 0.0023423423 -> 0.002342; words stay."""
    number = as_number(value)
    return str(value) if number is None or len(str(value)) < 8 else f"{number:.4g}"


def as_number(value: Any) -> float | None:
    """The number that a text says; None: it says none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(jobs: Sequence[Job], name: str) -> Mapping[int, float] | None:
    """Job number -> value of a parameter, when it is a number in every job that has it."""
    found = {job.number: as_number(job.parameters[name]) for job in jobs if name in job.parameters}
    return {key: value for key, value in found.items() if value is not None} if None not in found.values() else None
