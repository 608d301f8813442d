"""`limner compare A B`: evaluations of the same items side by side, with an interval for each difference."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limner.errors import UserError, listing
from limner.reports.source import Item, Source, find, read_items
from limner.reports.tables import RIGHT

ABOUT = """\
Compares runs (or folders of evaluations, or files of rows) on the same items. Differences are paired: each item is
answered by both, so that items which are hard for everyone do not blur them. The first one given is the baseline."""
CELLS = 8_000_000
"""Random counts drawn at once: 64 MB."""


class Difference(NamedTuple):
    """A paired difference of means, b - a."""

    mean: float
    low: float  #: 95 % interval
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says about b."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"


class Evaluation(NamedTuple):
    letter: str
    name: str
    split: str | None
    items: list[Item]
    accuracy: np.ndarray  #: (N,) float64, percent, in the order of ids


def paired_bootstrap(a: np.ndarray, b: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Difference:
    """The mean of b - a and its 95 % percentile interval over resamples of the items.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3. An item is drawn with both of its
    values. Differences of accuracies take few distinct values, so what is drawn is how often each VALUE comes
    (a multinomial) and not which items: the same distribution, and 200,000 items take no longer than 2,000.

    Args:
        a, b: (N,) values of the same items in the same order, N >= 1.
        resamples: how many means the interval is taken from.
        seed: of the random generator; the same seed gives the same interval.

    Raises:
        ValueError: the shapes differ, or there are no items.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"a and b must be two vectors of one length, not {a.shape} and {b.shape}")
    values, counts = np.unique(b - a, return_counts=True)
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // len(values))
    means = [
        rng.multinomial(len(a), counts / len(a), size=min(at_once, resamples - start)) @ values / len(a)
        for start in range(0, resamples, at_once)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Difference(float((b - a).mean()), float(low), float(high))


def main(argv: list[str]) -> int:
    """`limner compare A B [C ...] [--split NAME] [--markdown]`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner compare", description=ABOUT)
    parser.add_argument("baseline", help="a run folder, a folder with rows.jsonl.gz, or a file of rows")
    parser.add_argument("others", nargs="+", help="what is compared with it")
    parser.add_argument("--split", help="which evaluation of the runs (default: data.test, else data.select)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--markdown", action="store_true", help="tables for a README or an issue")
    options = parser.parse_args(argv)
    if options.resamples < 100:
        raise UserError(f"--resamples {options.resamples}: expected 100 or more, an interval needs them")
    compared = read([options.baseline, *options.others], options.split)
    table = markdown if options.markdown else columns
    print("\n".join(compare(compared, table, resamples=options.resamples, seed=options.seed)))
    return 0


def read(given: Sequence[str], split: str | None) -> list[Evaluation]:
    """The evaluations, their items in one order.

    Raises:
        UserError: one has no rows or no accuracies, or two are not of the same items.
    """
    out: list[Evaluation] = []
    for k, name in enumerate(given):
        source = find(name, split)
        items = sorted(read_items(rows_of(source)), key=lambda one: (str(type(one.id)), one.id))
        if not items:
            raise UserError(f"{name}: the evaluation has no rows; evaluate again")
        bare = [one.id for one in items if one.accuracy is None]
        if bare:
            raise UserError(
                f"{name}: {len(bare):,} of {len(items):,} rows have no accuracy (ids {listing(bare)}): "
                "compare evaluations of an annotated split"
            )
        letter = chr(ord("A") + k) if k < 26 else f"#{k + 1}"
        one = Evaluation(letter, name, source.split, items, np.array([item.accuracy for item in items], np.float64))
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
    """Refuses two evaluations of different items, or of items whose questions or people's answers differ."""
    ids = [{one.id for one in evaluation.items} for evaluation in (a, b)]
    if ids[0] != ids[1]:
        only = [
            f"{len(rest):,} only in {who.letter} ({listing(sorted(rest, key=str))})"
            for who, rest in ((a, ids[0] - ids[1]), (b, ids[1] - ids[0]))
            if rest
        ]
        raise UserError(
            f"{a.name} has {len(a.items):,} items of {a.split or 'a split'}, {b.name} {len(b.items):,} of "
            f"{b.split or 'a split'}: {', '.join(only)}; evaluate all on the same split (--split chooses it)"
        )
    other = [mine.id for mine, its in zip(a.items, b.items) if mine.truth != its.truth]
    if other:
        raise UserError(
            f"{a.name} and {b.name}: {len(other):,} items have other questions or other people's answers "
            f"(ids {listing(other)}); evaluate both on the same files"
        )


Table = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def compare(compared: Sequence[Evaluation], table: Table, *, resamples: int, seed: int) -> list[str]:
    """The comparison as lines of text."""
    first = compared[0]
    lines = [f"{first.split or 'rows'}: {len(first.items):,} items", ""]
    lines += [*table(("", "evaluation"), [(one.letter, one.name) for one in compared]), ""]
    kinds = sorted({one.answer_type for one in first.items if one.answer_type})
    groups = {"all": np.ones(len(first.items), bool)}
    if len(kinds) > 1:
        groups |= {kind: np.array([one.answer_type == kind for one in first.items]) for kind in kinds}
    rows = []
    for name, chosen in groups.items():
        for one in compared:
            told = [name, f"{chosen.sum():,}"] if one is first else ["", ""]
            told += [one.letter, f"{one.accuracy[chosen].mean():.2f}"]
            if one is first:
                rows.append([*told, "", "", ""])
                continue
            gap = paired_bootstrap(first.accuracy[chosen], one.accuracy[chosen], resamples=resamples, seed=seed)
            rows.append([*told, f"{gap.mean:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", gap.verdict])
    lines += table(("items", "#count", "", "#score", f"#minus {first.letter}", "#95 % interval", ""), rows)
    lines += ["", f"right: an accuracy of {RIGHT:.0f} or more", ""]
    rows = []
    for one in compared[1:]:
        mine, its = first.accuracy >= RIGHT, one.accuracy >= RIGHT
        counts = [mine & its, mine & ~its, ~mine & its, ~mine & ~its]
        rows.append([f"{first.letter}, {one.letter}", *(f"{which.sum():,}" for which in counts)])
    return lines + table(("", "#both right", "#only the first", "#only the second", "#neither"), rows)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in columns; headings that begin with `#` stand over numbers, to the right."""
    names = [name.removeprefix("#") for name in head]
    widths = [max(map(len, column)) for column in zip(names, *rows)]
    sides = [str.rjust if name.startswith("#") else str.ljust for name in head]
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths)).rstrip() for row in [names, *rows]
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The same table in Markdown."""
    rule = ["---:" if name.startswith("#") else "---" for name in head]
    names = [name.removeprefix("#") for name in head]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in [names, rule, *rows]]
