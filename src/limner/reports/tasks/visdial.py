"""Visual dialog in reports: metrics, tables by round and by type of question, single rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limner.metrics.rows import Row
from limner.metrics.visdial import retrieval
from limner.metrics.visdial_types import question_type
from limner.reports.curves import Frame, Panel, Point, figure, line_of
from limner.reports.examples import Group, one_an_image, sections_of, shuffled
from limner.reports.page import Html, note, percent_bar, section, table
from limner.reports.source import Source, interval_of, number
from limner.reports.tables import one_slice
from limner.reports.tasks.base import TaskReport, Told
from limner.reports.tasks.visdial_cards import card

NAMES = {"ndcg": "NDCG", "mrr": "MRR", "r1": "R@1", "r5": "R@5", "r10": "R@10", "mean_rank": "mean rank"}
"""What the metrics of metrics.json are called on the page, in the order of the papers' tables."""
DRAWN = ("r@10", "mrr", "r@1")
ABOUT_REGIONS = "Where there is no picture, the outlines are the regions that the model saw."


class DialogItem(NamedTuple):
    id: Any
    image: int | None
    score: float | None  #: 100 over the rank of the answer given; None where nobody knows it
    rank: int | None
    ndcg: float | None  #: percent; None where the round is not judged
    round: int
    kind: str  #: type of the question
    truth: Hashable = None  #: question, answer given and its place


def recall(most: int) -> Callable[[DialogItem], float | None]:
    """100 for an answer that is ranked `most` or better, else 0."""
    return lambda one: None if one.rank is None else 100.0 * (one.rank <= most)


class DialogReport(TaskReport[DialogItem]):
    name = "visdial"
    row_key = "ranks"
    items = "rounds"
    score = "MRR"
    keys = (
        *("weights", "task.stage", "task.main", "data.history", "data.max_length", "data.mask_words", "data.per_image"),
        *("model.text_hidden", "model.text_layers", "model.image_hidden", "model.image_layers", "model.fusion"),
    )
    panels = (
        Panel("losses", ("train/alignment", "train/relevance", "train/words", "train/regions")),
        Panel("MRR and NDCG", ("val/mrr", "val/ndcg")),
        Panel("recall", ("val/r1", "val/r5", "val/r10")),
    )
    truths = "ask something else or have another answer"
    also: Mapping[str, Callable[[DialogItem], float | None]] = {
        **{f"R@{most}": recall(most) for most in (1, 5, 10)},
        "NDCG": lambda one: one.ndcg,
    }
    partly = frozenset({"NDCG"})
    clustered = True

    def item(self, row: Row) -> DialogItem:
        rank = number(row.get("rank"))
        return DialogItem(
            row["id"],
            row.get("image_id"),
            None if rank is None else 100 / rank,
            None if rank is None else int(rank),
            number(row.get("ndcg")),
            int(number(row.get("round_id")) or 0),
            question_type(str(row.get("question") or "")),
            hash((row.get("question"), row.get("given"), row.get("gt_index"))),
        )

    def measured(self, metrics: Mapping[str, Any]) -> str:
        return NAMES.get(str(metrics.get("main")), self.score)

    def sections(self, source: Source, items: Sequence[DialogItem], images: Path | None, show: int) -> dict[str, Html]:
        parts = {"Metrics": metrics(source), "By round": by_round(items), "By question": by_question(items)}
        return parts | sections_of(source, items, chosen(items, show), images, card, ABOUT_REGIONS)

    def kind(self, item: DialogItem) -> str:
        return item.kind

    def told(self, row: Row) -> Told:
        title = f"image {row.get('image_id')}, round {row.get('round_id')}: {row.get('question')}"
        best = row.get("best") or [["", 0.0]]
        rank = f"  (the answer given is ranked {row['rank']})" if "rank" in row else ""
        return Told(title, f"{best[0][0]}{rank}", [str(row["given"])] if "given" in row else [])


def metrics(source: Source) -> Html:
    """What metrics.json says."""
    found = source.metrics()
    values = {name: number(value) for name, value in (found.get("metrics") or {}).items() if name != "score"}
    rows = [
        (NAMES.get(name, name), f"{value:.2f}", interval_of(found, name))
        for name, value in sorted(values.items(), key=lambda pair: [*NAMES, pair[0]].index(pair[0]))
        if value is not None
    ]
    if not rows:
        return section("Metrics", note("No metrics: the split hides its answers, or metrics.json is not here."))
    about = '<p class="small">Intervals are drawn by dialog: its rounds are not independent.</p>'
    return section("Metrics", table(("", "#", "#95 % interval"), rows), about, *map(note, found.get("notes") or []))


def by_round(items: Sequence[DialogItem]) -> Html:
    """The metrics by how much has been said before."""
    known = sorted((one for one in items if one.rank is not None), key=lambda one: one.round)
    if not known:
        return section("By round", note("The rows have no ranks of answers: the split hides them."))
    groups = {str(number): list(some) for number, some in groupby(known, key=lambda one: one.round)}
    plot = [plotted({int(name): retrieved(some) for name, some in groups.items()})] if len(groups) > 1 else []
    about = "With each round the history that the model reads becomes one question and answer longer."
    return section("By round", f'<p class="soft">{about}</p>', *plot, tabled("round", groups))


def by_question(items: Sequence[DialogItem]) -> Html:
    """The metrics by type of question, the most frequent first."""
    known = [one for one in items if one.rank is not None]
    if not known:
        return section("By question", note("The rows have no ranks of answers: the split hides them."))
    counts = Counter(one.kind for one in known)
    groups = {kind: [one for one in known if one.kind == kind] for kind, _ in counts.most_common()}
    about = "Types are told by the first words of a question. ±: half of a 95 % interval of MRR."
    return section("By question", tabled("question", groups), f'<p class="small">{about}</p>')


def retrieved(items: Sequence[DialogItem]) -> dict[str, float]:
    """The retrieval metrics of some rounds with known ranks."""
    return retrieval(np.array([one.rank for one in items]))


def tabled(title: str, groups: Mapping[str, Sequence[DialogItem]]) -> Html:
    """A row a group: its retrieval metrics, and NDCG where rounds are judged."""
    judged = any(one.ndcg is not None for some in groups.values() for one in some)
    rows = []
    for name, some in groups.items():
        values, spread = retrieved(some), one_slice(name, [one.score for one in some if one.score is not None])
        cells = [f"{values[metric]:.2f}" for metric in ("mrr", "r@1", "r@5", "r@10", "mean")]
        row: list[object] = [name, f"{len(some):,}", cells[0], f"{spread.margin:.1f}", *cells[1:]]
        if judged:
            gains = [one.ndcg for one in some if one.ndcg is not None]
            row += [f"{sum(gains) / len(gains):.2f}", f"{len(gains):,}"] if gains else ["", ""]
        rows.append([*row, percent_bar(values["mrr"])])
    head = [title, "#rounds", "#MRR", "#±", "#R@1", "#R@5", "#R@10", "#mean rank"]
    return table([*head, *(["#NDCG", "#judged"] if judged else []), ""], rows)


def plotted(rounds: Mapping[int, Mapping[str, float]]) -> Html:
    """R@10, MRR and R@1 over rounds, as a figure."""
    frame = Frame((min(rounds), max(rounds)), (0, 100))
    parts, names = frame.axes("round"), []
    for k, metric in enumerate(DRAWN):
        parts += line_of(frame, [Point(number, values[metric]) for number, values in rounds.items()], f" c{k}")
        names.append(f'<span class="key c{k}">{metric.upper()}</span>')
    return Html(f'<div class="plots">{figure("by round", parts, Html(", ".join(names)))}</div>')


def chosen(items: Sequence[DialogItem], show: int) -> dict[str, Group]:
    """Which rounds to show, one an image: the worst by rank and by NDCG, and some that are right."""
    known = [one for one in items if one.rank is not None]
    if not known:
        return {"Rounds": Group(one_an_image(shuffled(items), show))}
    drawn = shuffled(known)  # of equal ones, which come first means nothing
    wrong = sorted((one for one in drawn if one.rank != 1), key=lambda one: -(one.rank or 0))
    judged = sorted((one for one in drawn if one.ndcg is not None), key=lambda one: one.ndcg or 0.0)
    seen: Counter[str] = Counter()
    turns = []  # one of each type of question, then a second of each, ...
    for one in (right := [one for one in drawn if one.rank == 1]):
        turns.append(seen[one.kind])
        seen[one.kind] += 1
    spread = [right[k] for k in sorted(range(len(right)), key=turns.__getitem__)]
    worst = show - show // 2 if judged else show
    return {
        "Answer ranked last": Group(
            one_an_image(wrong, worst), "bad", "Where the answer given (bold) is ranked worst."
        ),
        "Lowest NDCG": Group(
            one_an_image(judged, show - worst), "bad", "Judged rounds with the lowest NDCG; bold is the answer given."
        ),
        "Answer ranked first": Group(
            one_an_image(spread, show // 2), "good", "Some where the answer given (bold) is first."
        ),
    }
