"""What a task must tell a report and a comparison about its rows. Everything else is the same for all tasks.

The defaults serve a task that nobody wrote a report for: its rows need an `id`, and a `score` to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple

from limner.metrics.rows import Row
from limner.reports.curves import Panel
from limner.reports.page import Html, note, section
from limner.reports.source import I, Source, number


class PlainItem(NamedTuple):
    id: Any
    image: int | None
    score: float | None
    truth: Hashable = None


class Told(NamedTuple):
    """A row in words."""

    title: str  #: what it is about: an image, a question
    said: str  #: what the model said
    people: Sequence[str]  #: what people said


class TaskReport(Generic[I]):
    """A task's part of reports and comparisons; see `limner.reports.tasks` for the table of them."""

    name = ""
    """As `task` in metrics.json and in a package's model.json, and as the module limner.tasks.NAME."""
    row_key = ""
    """A key that every row of the task has and no row of another task."""
    items = "items"
    """What its rows are, in the plural."""
    score = "score"
    """What `score` in metrics.json and of an item measures."""
    keys: tuple[str, ...] = ()
    """Configuration values that tell most about a run of this task, beside those of every run."""
    panels: tuple[Panel, ...] = ()
    """Logged values that belong in one plot."""
    phase: tuple[str, str] | None = None
    """A second phase of training: its name, and the value that is logged from its first step on."""

    def measured(self, metrics: Mapping[str, Any]) -> str:
        """What `score` of a metrics.json measures."""
        return self.score

    def item(self, row: Row) -> I:
        """What is kept of a row. Raises nothing for values that are missing."""
        return PlainItem(row["id"], row.get("image_id"), number(row.get("score")))  # type: ignore[return-value]

    def sections(self, source: Source, items: Sequence[I], images: Path | None, show: int) -> dict[str, Html]:
        """The sections that are made from rows, by title.

        Args:
            items: of all rows, in the order of the file.
            images: the folder of pictures, when there is one.
            show: how many examples are asked for.
        """
        told = "The page knows no more about these rows than their number: they are of a task it has no part for."
        return {"Rows": section("Rows", note(f"{len(items):,} rows. {told}"))}

    # --- comparisons ---

    truths = "differ in what was asked"
    """What is wrong with two evaluations when items of one id have different `truth`."""

    also: Mapping[str, Callable[[I], float | None]] = {}
    """Further numbers of an item whose means are compared, by name; only where every row has them, or `partly`."""
    partly: frozenset[str] = frozenset()
    """Names in `also` of numbers that only some items have; they are compared on these, and by kind."""
    clustered = False
    """Are items of one image so much alike that intervals must be drawn by image?"""
    tally: tuple[str, ...] = ("#better", "#worse", "#equal")
    """Headings of what is counted when one evaluation is held against another."""
    tally_note = ""
    """What the headings mean, where they do not say it."""

    def counts(self, first: Sequence[float], other: Sequence[float]) -> tuple[int, ...]:
        """How often what `tally` names happened.

        Args:
            first, other: (N,) scores of the same items.
        """
        better = sum(b > a for a, b in zip(first, other))
        worse = sum(b < a for a, b in zip(first, other))
        return better, worse, len(first) - better - worse

    def kind(self, item: I) -> str:
        """The group of an item that is also compared on its own; "": none."""
        return ""

    def told(self, row: Row) -> Told:
        """A row in words, for the items that differ most."""
        return Told(f"item {row['id']}", str(row.get("prediction", "")), [])
