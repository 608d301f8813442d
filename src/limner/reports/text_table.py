"""Tables as lines of text. Headings that begin with `#` stand over numbers, to the right."""

from __future__ import annotations

from collections.abc import Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in columns."""
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
