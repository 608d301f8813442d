"""Several runs on one page: what differs between them, and their curves in the same plots."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from limner.errors import UserError, listing
from limner.paths import shown
from limner.reports.curves import COLOURS, Point, best_of, together
from limner.reports.page import Html, menu, note, page, section, table
from limner.reports.sections import about_steps, logged_by, monitor, plain, plots
from limner.reports.source import Source

OWN = ("paths", "resume", "logger", "hydra")
"""Groups of the configuration that say nothing about what is learned."""


class Run(NamedTuple):
    name: str  #: the end of its path that no other has
    source: Source
    logged: Mapping[str, Sequence[Point]]
    best: Point | None  #: of the value it watches


def several(sources: Sequence[Source]) -> str:
    """The page of runs, the best first.

    Raises:
        UserError: one of them is no run, or they watch different values.
    """
    runs = found(sources)
    watched, mode = monitor(runs[0].source)
    drawn = [run for run in runs if run.logged][:COLOURS]
    left = len(runs) - len(drawn)
    about = [note(f"Curves of {len(drawn)} of {len(runs)} runs: the best that have logged something.")] if left else []
    names = list(dict.fromkeys(name for run in drawn for name in run.logged))
    steps = [name for panel in about_steps(names) for name in panel.names]
    first = dict.fromkeys((watched, "train/loss", *(n for n in names if n.startswith(("val/", "train/"))), *steps))
    figures = [together(name, {run.name: run.logged.get(name, []) for run in drawn}) for name in first if name in names]
    keys = {run.name: f'<span class="key c{k}">{escape(run.name)}</span>' for k, run in enumerate(drawn)}
    parts = {
        "Runs": section("Runs", compared(runs, watched, keys), f'<p class="small">{escape(watched)}: {mode}.</p>'),
        "Curves": section("Curves", *about, plots(figures)),
    }
    title = f"{len(runs)} runs"
    head = f'<h1>{title}</h1><p class="soft">{escape(shown(above(sources)))}</p>{menu(parts)}'
    return page(f"{title} - limner", head, parts.values())


def found(sources: Sequence[Source]) -> list[Run]:
    """The runs with what they have logged, the best first; those that have not validated stand last."""
    alone = [source.given for source in sources if source.run is None]
    if alone:
        raise UserError(f"{listing(alone)}: an evaluation outside of a run has no curves; give run folders")
    watched = {monitor(source) for source in sources}
    if len(watched) > 1:
        told = ", ".join(sorted(f"{name} ({mode})" for name, mode in watched))
        raise UserError(f"the runs watch different values, {told}: give runs that watch the same")
    ((name, mode),) = watched
    top = above(sources)
    runs = []
    for source in sources:
        assert source.run is not None
        logged = logged_by(source.run)
        runs.append(Run(str(source.run.relative_to(top)), source, logged, best_of(logged.get(name, []), mode)))
    sign = -1 if mode == "max" else 1
    return sorted(runs, key=lambda run: (run.best is None, sign * run.best.value if run.best else math.inf, run.name))


def above(sources: Sequence[Source]) -> Path:
    """The folder that holds all of the runs."""
    return Path(os.path.commonpath([source.folder.parent for source in sources]))


def compared(runs: Sequence[Run], watched: str, keys: Mapping[str, str]) -> Html:
    """A row a run: state, best value, and the values of the configuration that are not the same in all of them."""
    flat = [flattened(run.source.config) for run in runs]
    every = dict.fromkeys(key for one in flat for key in one)
    differ = [key for key in every if len({repr(one.get(key)) for one in flat}) > 1]
    rows = []
    for run, values in zip(runs, flat):
        state = str(run.source.json("status.json").get("state", ""))
        where = "" if run.best is None or run.best.epoch is None else str(run.best.epoch + 1)
        best = "" if run.best is None else f"{run.best.value:.2f}"
        told = ["" if values.get(key) is None else plain(values[key]) for key in differ]
        rows.append([Html(keys.get(run.name, escape(run.name))), state, best, where, *told])
    return table(["run", "state", f"#best {watched}", "#epoch", *differ], rows)


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, but for what is a run's own."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in OWN:
            continue
        if isinstance(value, dict):
            out |= flattened(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
