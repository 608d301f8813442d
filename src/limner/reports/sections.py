"""The sections of a report: each takes what is there and says in one note what is missing and what makes it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence, Sized
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from limner.errors import UserError
from limner.reports import tables
from limner.reports.curves import best_of, curves, reliability, series
from limner.reports.examples import Looks, card, find_images, find_regions, right, worst
from limner.reports.page import Html, commands, details, note, percent_bar, section, table
from limner.reports.source import Item, Source, read_rows
from limner.run import RunFolder
from limner.train import shown

KEYS = [
    *("task._target_", "task.loss", "model._target_", "model.embed_dim", "model.hidden"),
    *("data.folder", "data.fit", "data.select", "data.test", "data.batch_size"),
    *("optim._target_", "optim.lr", "schedule._target_"),
    *("trainer.max_epochs", "trainer.devices", "trainer.precision", "seed"),
]
"""Configuration values that tell most about a run; the whole configuration stands below them."""
PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "numpy")
SHOWN_KINDS = 12


def headline(source: Source, items: Sequence[Item]) -> Html:
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
    score = (metrics.get("metrics") or {}).get("score")
    if score is None:
        values = [one.accuracy for one in items if one.accuracy is not None]
        score = sum(values) / len(values) if values else None
    if score is not None:
        count = metrics.get("items", len(items))
        numbers.append((f"{score:.2f}", f"score on {source.split or 'these items'}, {count:,} items"))
    blocks = "".join(f"<div><b>{value}</b><span>{escape(about)}</span></div>" for value, about in numbers)
    where = f'<p class="soft">{escape(shown(source.folder))}</p>'
    return Html(f'<h1>{escape(str(name))}</h1>{where}<p>{line}</p><div class="numbers">{blocks}</div>')


def monitor(source: Source) -> tuple[str, str]:
    """The value that the run watches, and whether more of it is better: `max` or `min`."""
    return source.value("callbacks.monitor", "val/score"), source.value("callbacks.mode", "max")


def what_was_run(source: Source) -> Html:
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
    values = [(key, source.value(key)) for key in KEYS]
    rows = [(Html(f"<code>{escape(key)}</code>"), plain(value)) for key, value in values if value is not None]
    made = source.json("package/model.json").get("limner")
    trained = f"Trained with limner {made}. " if made else ""
    whole = f"<pre>{escape((source.run / 'config.yaml').read_text(encoding='utf-8'))}</pre>"
    return section(
        "What was run",
        commands(*lines),
        table(("", ""), rows),
        details("the whole configuration", whole),
        f'<p class="small">{escape(trained + versions())}</p>',
    )


def plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def versions() -> str:
    """The versions this page was made with; a run does not keep its own."""
    found = []
    for name in ("limner", *PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"Installed when this page was made: Python {platform.python_version()}, {', '.join(found)}."


def training(source: Source) -> Html:
    """Curves from metrics.jsonl."""
    if source.run is None:
        return section("Training", note("No curves: the folder is an evaluation that lies in no run."))
    logged = series(source.run / "metrics.jsonl")
    first, others = curves(logged, *monitor(source))
    if not first and not others:
        again = f"limner report {shlex.quote(shown(source.run))}"
        return section("Training", note("No curves: metrics.jsonl has no whole line yet. Later:", again))
    more = details(f"{len(others)} more", f'<div class="plots">{"".join(others)}</div>') if others else ""
    return section("Training", f'<div class="plots">{"".join(first)}</div>', more)


def missing_rows(source: Source) -> Html | None:
    """A note in the place of everything that rows are needed for."""
    if source.rows is not None:
        return None
    if not evaluating(source):
        return section("Answers", note("There are no rows, and no model (package/) here to make them with."))
    again = f"limner report {shlex.quote(shown(source.folder))} --split {source.split}"
    told = f"There are no rows of the split {source.split}; these commands make them:"
    return section("Answers", note(told, *evaluating(source), again))


def evaluating(source: Source) -> list[str]:
    """The command that makes the rows of this split; none when there is no model to evaluate."""
    if source.run is None or not (RunFolder(source.run).package / "model.json").is_file():
        return []
    return [f"limner evaluate run={shlex.quote(shown(source.run))} split={source.split}"]


def by_type(items: Sequence[Item], official: Mapping[str, Mapping[str, float]]) -> Html:
    """Accuracy by answer type and by question type."""
    parts = []
    for title, name in (("answer type", "answer_type"), ("question type", "question_type")):
        found = tables.slices(items, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        if not found:
            continue
        told = official.get(name) or {}
        rows = [kind_row(one, told.get(one.name, one.accuracy)) for one in found]
        head = (title, "#questions", "#accuracy", "#±", "", "#costs")
        parts.append(table(head, rows[:SHOWN_KINDS]))
        if len(rows) > SHOWN_KINDS:
            parts.append(details(f"{len(rows) - SHOWN_KINDS} more, less frequent", table(head, rows[SHOWN_KINDS:])))
    if not parts:
        why = "The rows have no accuracy: the split is not annotated, so only the answers themselves can be looked at."
        return section("By type", note(why))
    about = "±: half of a 95 % interval. costs: the points of the overall accuracy that a type loses."
    return section("By type", *parts, f'<p class="small">{about}</p>')


def kind_row(one: tables.Slice, accuracy: float) -> tuple[object, ...]:
    numbers = (f"{one.items:,}", f"{accuracy:.2f}", f"{one.margin:.1f}")
    return (one.name, *numbers, percent_bar(accuracy), f"{one.cost:.2f}")


def confidence(items: Sequence[Item]) -> Html:
    """Confidence against accuracy."""
    found = tables.calibration(items)
    if not found:
        return section("Confidence", note("The rows have no confidence or no accuracy to hold it against."))
    error = tables.calibration_error(found)
    about = (
        f"The confidence is {error:.1f} points away from the accuracy on average (expected calibration error). Below "
        "the dashed line the model is surer than it should be. The area of a dot is its share of the questions."
    )
    rows = [
        (f"{one.low:.1f} to {one.high:.1f}", f"{one.items:,}", f"{one.confidence:.1f}", f"{one.accuracy:.1f}")
        for one in found
    ]
    numbers = table(("confidence", "#questions", "#mean, %", "#accuracy, %"), rows)
    return section("Confidence", f"<p>{about}</p>", f'<div class="plots">{reliability(found)}{numbers}</div>')


def confused(items: Sequence[Item]) -> Html:
    """The most frequent confusions."""
    found = tables.confusions(items)
    if not found:
        return section("Confusions", note("No wrong answers, or nobody annotated these questions."))
    rows = [
        (one.said, one.answer, f"{one.times:,}", f"{100 * one.times / one.asked:.0f} % of {one.asked:,}")
        for one in found
    ]
    about = f"Answers with an accuracy below {tables.RIGHT:.0f}, by what most people said instead."
    return section("Confusions", f'<p class="soft">{about}</p>', table(("people", "model", "#times", "#share"), rows))


def examples(source: Source, items: Sequence[Item], images: Path | None, show: int) -> dict[str, Html]:
    """Confident and wrong answers, and right ones, with their pictures."""
    chosen = {"Confident and wrong": worst(items, show), "Right": right(items, show // 2)}
    if not any(chosen.values()) and items:
        chosen = {"Answers": list(items[:show])}
    wanted = {one.id for group in chosen.values() for one in group}
    assert source.rows is not None
    places = {place for place, one in enumerate(items) if one.id in wanted}
    rows = {row["id"]: row for row in read_rows(source.rows, places)}
    numbers = {one.image for group in chosen.values() for one in group if one.image is not None}
    pictures = find_images(images, numbers) if images else {}
    notes = missing_pictures(source, images, pictures, numbers)
    looks, why = looks_of(source, sorted(numbers & pictures.keys()))
    about = (
        "A region is as opaque as the model's attention to it, next to the strongest region of the picture, whose "
        "share is written beside it. Answers in bold were given by people."
    )
    out: dict[str, Html] = {}
    for title, group in chosen.items():
        if not group:
            continue
        cards = "".join(card(rows[one.id], pictures.get(one.image), looks.get(one.image)) for one in group)
        kind = {"Right": "right", "Confident and wrong": "wrong"}.get(title, "")
        first = [f'<p class="soft">{about}</p>' if looks else "", *notes, why] if not out else []
        out[title] = section(title, *first, f'<div class="cards {kind}">{cards}</div>')
    return out


def missing_pictures(source: Source, folder: Path | None, found: Sized, wanted: set[int]) -> list[Html]:
    again = f"limner report {shlex.quote(shown(source.folder))} --images DIR"
    if folder is None:
        return [note("No pictures: the folder of images is not known or not there. Say where they are:", again)]
    if len(found) < len(wanted):
        told = (
            f"{len(found)} of {len(wanted)} pictures were found in {shown(folder)}, by the digits that end their names."
        )
        return [note(told, again)]
    return []


def looks_of(source: Source, images: Sequence[int]) -> tuple[dict[int | None, Looks], Html | str]:
    """Regions of the pictures, and a note when there are none."""
    features = source.value("data.features") or []
    features = [features] if isinstance(features, str) else features
    if not images or (source.run and not features):  # no picture to draw on, or a model that sees none
        return {}, ""
    if source.run is None:
        return {}, note("No regions: an evaluation outside of a run does not say which feature file it was made from.")
    stores = [source.located(path) for path in features]
    there = [store for store in stores if store is not None]
    try:
        looks = find_regions(there, images) if there else {}
    except UserError as error:
        return {}, note(f"No regions: {error}")
    lost = [path for path, store in zip(features, stores) if store is None]
    if lost and len(looks) < len(images):
        made = source.value("data.made_by")
        told = f"No regions for {len(images) - len(looks)} of {len(images)} pictures: {', '.join(lost)} is not there."
        return looks, note(told, *([made] if made else []))
    return looks, ""
