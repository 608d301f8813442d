"""The sections that every report has, whatever the task: each says in one note what is missing and what makes it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from limner.paths import shown
from limner.reports.curves import Panel, Point, begun, best_of, curves, drawn, series
from limner.reports.page import Html, commands, details, note, section, table
from limner.reports.source import Item, Source, interval_of, number
from limner.reports.tasks.base import TaskReport
from limner.run import RunFolder

KEYS = [
    *("task._target_", "model._target_", "data.folder", "data.fit", "data.select", "data.test", "data.batch_size"),
    *("optim._target_", "optim.lr", "schedule._target_"),
    *("trainer.max_epochs", "trainer.devices", "trainer.precision", "seed"),
]
"""Configuration values that tell most about a run; its task adds more, and the whole configuration stands below."""
PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "numpy")


def headline(source: Source, items: Sequence[Item], task: TaskReport[Any]) -> Html:
    """Name, state and the numbers that matter most."""
    status = source.json("status.json")
    state = status.get("state", "")
    if source.run:
        name = source.value("name", source.run.parent.name)
        told = f'<span class="state {escape(state)}">{escape(state or "state unknown")}</span>'
        when = " to ".join(
            escape(str(status[key])[:16].replace("T", " ")) for key in ("started", "at") if key in status
        )
        reason = "" if state in ("done", "running") else f" {escape(str(status.get('reason', '')))}"
        line = f"{told}{reason}, {when}" if when else f"{told}{reason}"
    else:
        name, line = source.folder.name, "one evaluation, outside of a run"
    numbers = []
    watched, mode = monitor(source)
    best = best_of(series(source.folder / "metrics.jsonl").get(watched, []), mode)
    if best is not None:
        where = "" if best.epoch is None else f", epoch {best.epoch + 1}"
        numbers.append((f"{best.value:.2f}", f"best {watched}{where}"))
    metrics = source.metrics()
    score = number((metrics.get("metrics") or {}).get("score"))
    if score is None:
        values = [one.score for one in items if one.score is not None]
        score = sum(values) / len(values) if values else None
    if score is not None:
        about = (
            f"{task.measured(metrics)} on {source.split or 'these'}, {metrics.get('items', len(items)):,} {task.items}"
        )
        interval = interval_of(metrics, "score")
        numbers.append((f"{score:.2f}", f"{about}, 95 % interval {interval}" if interval else about))
    blocks = "".join(f"<div><b>{value}</b><span>{escape(about)}</span></div>" for value, about in numbers)
    signed = metrics.get("signature")
    below = f'<p class="small">signature: <code>{escape(str(signed))}</code></p>' if signed else ""
    where = f'<p class="soft">{escape(shown(source.folder))}</p>'
    return Html(f'<h1>{escape(str(name))}</h1>{where}<p>{line}</p><div class="numbers">{blocks}</div>{below}')


def monitor(source: Source) -> tuple[str, str]:
    """The value that the run watches, and whether more of it is better: `max` or `min`."""
    return source.value("callbacks.monitor", "val/score"), source.value("callbacks.mode", "max")


def what_was_run(source: Source, task: TaskReport[Any]) -> Html:
    """Commands, configuration, versions."""
    if source.run is None:
        known = "Only rows and metrics are here, so this page cannot say what was run. Report the run itself for that:"
        return section("What was run", note(known, "limner report RUN"))
    run = shlex.quote(shown(source.run))
    lines = []
    command = source.run / "command.txt"
    if command.is_file():
        lines.append(command.read_text(encoding="utf-8").strip())
    if source.json("status.json").get("state") in ("stopped", "failed") and RunFolder(source.run).last.is_file():
        lines.append(f"limner train resume={run}")
    lines += [*evaluating(source), f"limner report {run}"]
    values = [(key, source.value(key)) for key in (*KEYS[:2], *task.keys, *KEYS[2:])]
    rows = [(Html(f"<code>{escape(key)}</code>"), plain(value)) for key, value in values if value is not None]
    whole = f"<pre>{escape((source.run / 'config.yaml').read_text(encoding='utf-8'))}</pre>"
    return section(
        "What was run",
        commands(*lines),
        table(("", ""), rows),
        details("the whole configuration", whole),
        f'<p class="small">{escape(versions(source))}</p>',
    )


def plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def versions(source: Source) -> str:
    """The versions the run was made with; what is installed now, where it does not say them all."""
    made = source.json("versions.json")
    if made:
        return (
            f"Trained with {', '.join(f'{name} {plain(value)}' for name, value in made.items() if value is not None)}."
        )
    by = source.json("package/model.json").get("limner")
    found = []
    for name in ("limner", *PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    now = f"Installed when this page was made: Python {platform.python_version()}, {', '.join(found)}."
    return f"Trained with limner {by}. {now}" if by else now


def training(source: Source, task: TaskReport[Any]) -> Html:
    """Curves from metrics.jsonl."""
    if source.run is None:
        return section("Training", note("No curves: the folder is an evaluation that lies in no run."))
    logged = logged_by(source.run)
    first, others = curves(logged, *monitor(source), task.panels, task.phase)
    if not first and not others:
        again = f"limner report {shlex.quote(shown(source.run))}"
        return section("Training", note("No curves: metrics.jsonl has no whole line yet. Later:", again))
    steps = drawn(about_steps(logged), logged, begun(logged, task.phase), titled=True)
    folded = {f"{len(others)} more": others, "gradients, learning rate, speed": steps}
    more = [details(title, plots(figures)) for title, figures in folded.items() if figures]
    return section("Training", plots(first), *more)


def plots(figures: Iterable[str]) -> Html:
    return Html(f'<div class="plots">{"".join(figures)}</div>')


def logged_by(run: Path) -> dict[str, list[Point]]:
    """Everything that a run has logged, by name."""
    return series(run / "metrics.jsonl") | series(run / "speed.jsonl")


def about_steps(logged: Iterable[str]) -> list[Panel]:
    """Panels of what is no loss and no score: gradients, learning rate, speed and memory."""
    parts = tuple(name for name in logged if name.startswith("grad/"))
    memory = tuple(name for name in logged if name.startswith("speed/") and name.endswith("memory"))
    return [
        Panel("norms of gradients", parts),
        Panel("learning rate", ("lr",)),
        Panel("items a second", ("speed/items",)),
        Panel("waiting for data, % of the time", ("speed/waiting",)),
        Panel("memory, GiB", memory),
    ]


def missing_rows(source: Source) -> Html | None:
    """A note in the place of everything that rows are needed for."""
    if source.rows is not None:
        return None
    if not evaluating(source):
        return section("Rows", note("There are no rows, and no model (package/) here to make them with."))
    again = f"limner report {shlex.quote(shown(source.folder))} --split {source.split}"
    told = f"There are no rows of the split {source.split}; these commands make them:"
    return section("Rows", note(told, *evaluating(source), again))


def evaluating(source: Source) -> list[str]:
    """The command that makes the rows of this split; none when there is no model to evaluate."""
    if source.run is None or not (RunFolder(source.run).package / "model.json").is_file():
        return []
    return [f"limner evaluate run={shlex.quote(shown(source.run))} split={source.split}"]
