"""Visual question answering in reports: accuracy by type, confidence, confusions, single answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from limner.metrics.rows import Row
from limner.reports.examples import Group, sections_of
from limner.reports.page import Html, details, note, percent_bar, section, table
from limner.reports.source import Source, number
from limner.reports.tables import Slice, slices
from limner.reports.tasks import vqa_confidence
from limner.reports.tasks.base import TaskReport, Told
from limner.reports.tasks.vqa_cards import card, people_of, right, worst
from limner.reports.tasks.vqa_confidence import RIGHT

SHOWN_KINDS = 12
ABOUT_REGIONS = (
    "A region is as opaque as the model's attention to it, next to the strongest region of the picture, whose "
    "share is written beside it. Answers in bold were given by people."
)


class VQAItem(NamedTuple):
    id: Any
    image: int | None
    answer: str
    confidence: float | None
    score: float | None  #: accuracy in percent; None where nobody annotated
    answer_type: str
    question_type: str
    said: str | None  #: the answer most people gave, the first of those in a tie
    truth: int  #: hash of question and people's answers


class VQAReport(TaskReport[VQAItem]):
    name = "vqa"
    row_key = "answer"
    items = "questions"
    score = "accuracy"
    keys = ("task.loss", "model.embed_dim", "model.hidden")
    truths = "have other questions or other people's answers"
    tally = ("#both right", "#only the first", "#only the second", "#neither")
    tally_note = f"right: an accuracy of {RIGHT:.0f} or more"

    def item(self, row: Row) -> VQAItem:
        people = row.get("answers") or []
        said = max(people, key=people.count) if people else None  # equal counts: the first met
        return VQAItem(
            row["id"],
            row.get("image_id"),
            intern(str(row.get("answer", ""))),
            number(row.get("confidence")),
            number(row.get("accuracy")),
            intern(str(row.get("answer_type") or "")),
            intern(str(row.get("question_type") or "")),
            None if said is None else intern(str(said)),
            hash((row.get("question"), *sorted(people))),
        )

    def sections(self, source: Source, items: Sequence[VQAItem], images: Path | None, show: int) -> dict[str, Html]:
        parts = {"By type": by_type(items, source.metrics().get("official") or {})}
        parts["Confidence"] = confidence(items)
        parts["Confusions"] = confused(items)
        chosen = {
            "Confident and wrong": Group(worst(items, show), "bad"),
            "Right": Group(right(items, show // 2), "good"),
        }
        if not any(group.items for group in chosen.values()):
            chosen = {"Answers": Group(items[:show])}
        return parts | sections_of(source, items, chosen, images, card, ABOUT_REGIONS)

    def kind(self, item: VQAItem) -> str:
        return item.answer_type

    def counts(self, first: Sequence[float], other: Sequence[float]) -> tuple[int, ...]:
        pairs = [(a >= RIGHT, b >= RIGHT) for a, b in zip(first, other)]
        return tuple(map(pairs.count, [(True, True), (True, False), (False, True), (False, False)]))

    def told(self, row: Row) -> Told:
        title = f"question {row['id']}, image {row.get('image_id')}: {row.get('question')}"
        return Told(title, str(row.get("answer", "")), [", ".join(people_of(row))] if row.get("answers") else [])


def by_type(items: Sequence[VQAItem], official: Mapping[str, Mapping[str, float]]) -> Html:
    """Accuracy by answer type and by question type."""
    parts = []
    for title, name in (("answer type", "answer_type"), ("question type", "question_type")):
        found = slices(items, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        if not found:
            continue
        told, total = official.get(name) or {}, sum(one.items for one in found)
        rows = [kind_row(one, told.get(one.name, one.score), total) for one in found]
        head = (title, "#questions", "#accuracy", "#±", "", "#costs")
        parts.append(table(head, rows[:SHOWN_KINDS]))
        if len(rows) > SHOWN_KINDS:
            parts.append(details(f"{len(rows) - SHOWN_KINDS} more, less frequent", table(head, rows[SHOWN_KINDS:])))
    if not parts:
        why = "The rows have no accuracy: the split is not annotated, so only the answers themselves can be looked at."
        return section("By type", note(why))
    about = "±: half of a 95 % interval. costs: the points of the overall accuracy that a type loses."
    return section("By type", *parts, f'<p class="small">{about}</p>')


def kind_row(one: Slice, accuracy: float, total: int) -> tuple[object, ...]:
    numbers = (f"{one.items:,}", f"{accuracy:.2f}", f"{one.margin:.1f}")
    return (one.name, *numbers, percent_bar(accuracy), f"{one.items * (100 - one.score) / total:.2f}")


def confidence(items: Sequence[VQAItem]) -> Html:
    """Confidence against accuracy."""
    found = vqa_confidence.calibration(items)
    if not found:
        return section("Confidence", note("The rows have no confidence or no accuracy to hold it against."))
    error = vqa_confidence.calibration_error(found)
    about = (
        f"The confidence is {error:.1f} points away from the accuracy on average (expected calibration error). Below "
        "the dashed line the model is surer than it should be. The area of a dot is its share of the questions."
    )
    rows = [
        (f"{one.low:.1f} to {one.high:.1f}", f"{one.items:,}", f"{one.confidence:.1f}", f"{one.accuracy:.1f}")
        for one in found
    ]
    numbers = table(("confidence", "#questions", "#mean, %", "#accuracy, %"), rows)
    plot = vqa_confidence.reliability(found)
    return section("Confidence", f"<p>{about}</p>", f'<div class="plots">{plot}{numbers}</div>')


def confused(items: Sequence[VQAItem]) -> Html:
    """The most frequent confusions."""
    found = vqa_confidence.confusions(items)
    if not found:
        return section("Confusions", note("No wrong answers, or nobody annotated these questions."))
    rows = [
        (one.said, one.answer, f"{one.times:,}", f"{100 * one.times / one.asked:.0f} % of {one.asked:,}")
        for one in found
    ]
    about = f"Answers with an accuracy below {RIGHT:.0f}, by what most people said instead."
    return section("Confusions", f'<p class="soft">{about}</p>', table(("people", "model", "#times", "#share"), rows))
