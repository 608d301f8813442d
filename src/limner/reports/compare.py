"""`limner compare A B`: evaluations of the same items side by side, with an interval for each difference."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limner.errors import UserError, listing
from limner.metrics.rows import Row
from limner.reports.bootstrap import paired_bootstrap
from limner.reports.source import Item, Source, find, read_items, read_rows
from limner.reports.tasks import task_of
from limner.reports.tasks.base import TaskReport
from limner.reports.text_table import columns, markdown

ABOUT = """\
Compares runs (or folders of evaluations, or files of rows) on the same items. Differences are paired: each item is
answered by both, so that items which are hard for everyone do not blur them. The first one given is the baseline."""


class Evaluation(NamedTuple):
    letter: str
    name: str
    split: str | None
    task: TaskReport[Any]
    rows: Path
    places: dict[Any, int]  #: where each id's row stands in the file
    items: list[Item]  #: in the order of ids
    scores: np.ndarray  #: (N,) float64, percent, in the order of ids
    signature: str = ""  #: how the score was computed, where metrics.json says it


def main(argv: list[str]) -> int:
    """`limner compare A B [C ...] [--split NAME] [--markdown]`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner compare", description=ABOUT)
    parser.add_argument("baseline", help="a run folder, a folder with rows.jsonl.gz, or a file of rows")
    parser.add_argument("others", nargs="+", help="what is compared with it")
    parser.add_argument("--split", help="which evaluation of the runs (default: data.test, else data.select)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--examples", type=int, default=3, help="items shown that differ most, each way (default: 3)")
    parser.add_argument("--markdown", action="store_true", help="tables for a README or an issue")
    options = parser.parse_args(argv)
    if options.resamples < 100:
        raise UserError(f"--resamples {options.resamples}: expected 100 or more, an interval needs them")
    compared = read([options.baseline, *options.others], options.split)
    table = markdown if options.markdown else columns
    lines = compare(compared, table, resamples=options.resamples, seed=options.seed)
    for other in compared[1:]:
        shown = differing(compared[0], other, options.examples)
        # four spaces: in Markdown the text stands as it is
        lines += [f"    {line}".rstrip() for line in shown] if options.markdown else shown
    print("\n".join(lines))
    return 0


def read(given: Sequence[str], split: str | None) -> list[Evaluation]:
    """The evaluations, their items in one order.

    Raises:
        UserError: one has no rows or no scores, or two are not of the same items.
    """
    out: list[Evaluation] = []
    for k, name in enumerate(given):
        source = find(name, split)
        rows, task = rows_of(source), task_of(source)
        found = read_items(rows, task.item)
        items = sorted(found, key=lambda one: (str(type(one.id)), one.id))
        if not items:
            raise UserError(f"{name}: the evaluation has no rows; evaluate again")
        bare = [one.id for one in items if one.score is None]
        if bare:
            raise UserError(
                f"{name}: {len(bare):,} of {len(items):,} rows have no {task.score} (ids {listing(bare)}): "
                "compare evaluations of an annotated split"
            )
        letter = chr(ord("A") + k) if k < 26 else f"#{k + 1}"
        places = {one.id: place for place, one in enumerate(found)}
        scores = np.array([one.score for one in items], np.float64)
        signature = str(source.metrics().get("signature") or "")
        one = Evaluation(letter, name, source.split, task, rows, places, items, scores, signature)
        if out:
            check_same(out[0], one)
        out.append(one)
    return out


def rows_of(source: Source) -> Path:
    if source.rows is not None:
        return source.rows
    run = source.given if source.run else "RUN"
    split = source.split or "val"
    raise UserError(f"{source.given}: no rows of split {split}; make them: limner evaluate run={run} split={split}")


def check_same(a: Evaluation, b: Evaluation) -> None:
    """Refuses evaluations of different tasks or items, or of items of which something else was asked or known."""
    if a.task.name != b.task.name:
        told = [f"{one.name} has rows of {one.task.name or 'an unknown task'}" for one in (a, b)]
        raise UserError(f"{', '.join(told)}: compare evaluations of one task")
    ids = [{one.id for one in evaluation.items} for evaluation in (a, b)]
    if ids[0] != ids[1]:
        only = [
            f"{len(rest):,} only in {who.letter} ({listing(sorted(rest, key=str))})"
            for who, rest in ((a, ids[0] - ids[1]), (b, ids[1] - ids[0]))
            if rest
        ]
        raise UserError(
            f"{a.name} has {len(a.items):,} {a.task.items} of {a.split or 'a split'}, {b.name} {len(b.items):,} of "
            f"{b.split or 'a split'}: {', '.join(only)}; evaluate all on the same split (--split chooses it)"
        )
    other = [mine.id for mine, its in zip(a.items, b.items) if mine.truth != its.truth]
    if other:
        raise UserError(
            f"{a.name} and {b.name}: {len(other):,} {a.task.items} {a.task.truths} (ids {listing(other)}); "
            "evaluate both on the same files"
        )


Table = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def compare(compared: Sequence[Evaluation], table: Table, *, resamples: int, seed: int) -> list[str]:
    """The comparison as lines of text."""
    first = compared[0]
    task = first.task
    lines = [f"{first.split or 'rows'}: {len(first.items):,} {task.items}", ""]
    signed = any(one.signature for one in compared)
    head = ["", "evaluation", *(["signature"] if signed else [])]
    lines += table(head, [[one.letter, one.name, *([one.signature] if signed else [])] for one in compared])
    kinds = sorted({kind for one in first.items if (kind := task.kind(one))})
    groups = {"all": np.ones(len(first.items), bool)}
    if len(kinds) > 1:
        groups |= {kind: np.array([task.kind(one) == kind for one in first.items]) for kind in kinds}
    rows = []
    for name, chosen in groups.items():
        held = held_against(compared, [one.scores for one in compared], chosen, resamples, seed)
        told = [name, f"{chosen.sum():,}"]
        rows += [[*(["", ""] if k else told), *cells] for k, cells in enumerate(held)]
    tail = [f"#minus {first.letter}", "#95 % interval", ""]
    lines += ["", *table([task.items, "#count", "", f"#{task.score}", *tail], rows), ""]
    rows = []
    for name, value in task.also.items():
        found = [np.array([value(item) for item in one.items], np.float64) for one in compared]  # None is nan
        known = np.asarray(~np.isnan(found).any(0))
        some: dict[str, np.ndarray] = groups if name in task.partly else {"all": known}
        for kind, chosen in some.items():
            there = known & chosen
            if there.any() and (known.all() or name in task.partly):
                title = name if kind == "all" else f"{name}, {kind}"
                counted = f" of {there.sum():,}" if name in task.partly else ""
                held = held_against(compared, found, there, resamples, seed)
                rows += [["" if k else title + counted, *cells] for k, cells in enumerate(held)]
    if rows:
        lines += [*table(["also", "", "#", *tail], rows), ""]
    if task.tally_note:
        lines += [task.tally_note, ""]
    rows = []
    for one in compared[1:]:
        counts = task.counts(first.scores.tolist(), one.scores.tolist())
        rows.append([f"{first.letter}, {one.letter}", *(f"{count:,}" for count in counts)])
    return lines + table(("", *task.tally), rows)


def held_against(
    compared: Sequence[Evaluation], values: Sequence[np.ndarray], chosen: np.ndarray, resamples: int, seed: int
) -> list[list[str]]:
    """Cells of each evaluation: letter, mean, and for all but the first the difference to it, interval and verdict.

    Args:
        values: (N,) of each evaluation. chosen: (N,) bool, the items that count.
    """
    rows = []
    first = compared[0]
    images = np.array([str(one.image) for one in first.items])[chosen] if first.task.clustered else None
    values = [its[chosen] for its in values]
    for one, its in zip(compared, values):
        cells = [one.letter, f"{its.mean():.2f}", "", "", ""]
        if one is not first:
            gap = paired_bootstrap(values[0], its, groups=images, resamples=resamples, seed=seed)
            cells[2:] = [f"{gap.mean:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", gap.verdict]
        rows.append(cells)
    return rows


def differing(first: Evaluation, other: Evaluation, show: int) -> list[str]:
    """The items that differ most, each way, in words; none when no item differs.

    Of items that differ alike, `first`'s order of ids means nothing: which come first is drawn, the same every time.
    """
    gaps = other.scores - first.scores
    drawn = [zlib.crc32(str(one.id).encode()) for one in first.items]
    lines: list[str] = []
    for sign, ahead, behind in ((1, other, first), (-1, first, other)):
        order = sorted(np.flatnonzero(sign * gaps > 0).tolist(), key=lambda k: (-sign * gaps[k], drawn[k]))[:show]
        if not order:
            continue
        lines += ["", f"where {ahead.letter} is most ahead of {behind.letter}"]
        ids = [first.items[k].id for k in order]
        theirs = [rows_at(one, ids) for one in (first, other)]
        for k, row, its in zip(order, *theirs):
            told, its_told = first.task.told(row), other.task.told(its)
            lines += ["", f"{told.title}  {gaps[k]:+.1f}"]
            lines.append(f"  {first.letter} {first.scores[k]:6.1f}  {told.said}")
            lines.append(f"  {other.letter} {other.scores[k]:6.1f}  {its_told.said}")
            lines += [f"  {'people' if n == 0 else '':8}  {text}" for n, text in enumerate(told.people)]
    return lines


def rows_at(evaluation: Evaluation, ids: Sequence[Any]) -> list[Row]:
    """Whole rows, in the order of `ids`."""
    places = {evaluation.places[one] for one in ids}
    rows = {row["id"]: row for row in read_rows(evaluation.rows, places)}
    return [rows[one] for one in ids]
