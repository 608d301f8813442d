"""Rows: one plain dict an item. Metrics, reports and submission files are all made from the same rows.

A row has an `id`; processes that share a data set may each have seen an item (padding of the last batch), so rows are
made unique by id before anything is counted. A metric is then the same number on one process and on N.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from limner.errors import UserError
from limner.files import whole

Row = dict[str, Any]


def unique(rows: Iterable[Row]) -> list[Row]:
    """Rows sorted by id, one for each id (the first seen)."""
    first: dict[Any, Row] = {}
    for row in rows:
        first.setdefault(row["id"], row)
    return [first[key] for key in sorted(first)]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as JSON lines (gzipped when the name ends in .gz), whole or not at all.

    Raises:
        UserError: the file cannot be written. What `rows` itself raises comes through as it is.
    """
    try:
        with (
            whole(path) as part,
            gzip.open(part, "wt", encoding="utf-8", compresslevel=3)
            if path.suffix == ".gz"
            else open(part, "w", encoding="utf-8") as file,
        ):
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: rows cannot be written ({reason}); free space or choose another out=") from None


def read(path: Path) -> Iterator[Row]:
    """The rows of a file that `write` made."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
