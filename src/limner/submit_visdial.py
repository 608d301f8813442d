"""EvalAI's files of visual dialog: `[{"image_id": 42, "round_id": 10, "ranks": [3, 1, ...]}, ...]`.

`ranks[k]` is the rank, from 1, of option k of the file. Which rounds are wanted depends on the split: of val every
round (10 of each image, 20,640 in all), of test the last one of each dialog (8,000). What visdial-bert writes, from a
`processed` file of val, lacks four images; the server refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.reading import json_records
from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError, listing
from limner.files import whole

_EXPECTED = '{"image_id": 1, "round_id": 1, "ranks": [numbers]}'


def write_visdial_submission(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a ranks file from rows with `image_id`, `round_id` and `ranks` (a list or an array); returns how many.

    Nothing is written when a row is wrong: raises `UserError` for a round that stands twice, for ranks that are no
    permutation of 1, 2, ..., and for a file that cannot be written (a full disk).
    """
    path = Path(path)
    records = [
        {**{name: _plain(row[name]) for name in ("image_id", "round_id")}, "ranks": _plain(row["ranks"])}
        for row in rows
    ]
    _read(records, f"{path} (not written)")
    try:
        with whole(path) as part:
            part.write_text(json.dumps(records, separators=(",", ":")), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); free space or choose another out=") from None
    return len(records)


def check_visdial_submission(path: str | Path, split: VisDialSplit, source: str = "the split") -> int:
    """Check a ranks file against the dialogs it ranks, which errors call `source`; returns how many rounds.

    Raises `UserError` (one line) for the first kind of fault found: not a list of objects with image_id, round_id and
    ranks, a round that stands twice, rounds that are not asked for, rounds that are missing, ranks that are no
    permutation or not as many as there are options.
    """
    found = _read(json_records(path, None), path)
    rounds = split.ranked
    images, numbers = split.image_id[split.dialog[rounds]].tolist(), split.round_id[rounds].tolist()
    asked = dict(zip(zip(images, numbers), split.option_counts[rounds].tolist()))
    unknown = [key for key in found if key not in asked]
    if unknown:
        kind = "" if split.annotated else " (of a test split only the last round of each dialog is ranked)"
        raise UserError(f"{path}: ranks rounds that {source} does not ask for: {_rounds(unknown)}{kind}")
    missing = [key for key in asked if key not in found]
    if missing:
        raise UserError(f"{path}: no ranks of {len(missing):,} of {len(asked):,} rounds: {_rounds(missing)}")
    other = [key for key, count in found.items() if asked[key] != count]
    if other:
        told = f"{found[other[0]]} ranks for {asked[other[0]]} options"
        raise UserError(f"{path}: has {told}: {_rounds(other)}; rank every option")
    return len(found)


def check_dialog_file(path: str | Path, references: str | Path) -> str:
    """Check a ranks file against a dialog file; what to tell the user. Errors as `check_visdial_submission`."""
    from limner.data.visdial_files import load_split

    split = load_split(references)
    count = check_visdial_submission(path, split, str(references))
    return f"{path}: good: ranks of {count:,} rounds of {len(split):,} dialogs"


def _read(records: Iterable[Any], path: object) -> dict[tuple[int, int], int]:
    """Number of ranks of each (image, round)."""
    found: dict[tuple[int, int], int] = {}
    twice = []
    for index, record in enumerate(records):
        if not isinstance(record, dict) or not {"image_id", "round_id", "ranks"} <= record.keys():
            raise UserError(f"{path}: record {index} is {_short(record)}, expected {_EXPECTED}")
        for name in ("image_id", "round_id"):
            if type(record[name]) is not int:
                raise UserError(f"{path}: record {index}: {name} is {_short(record[name])}, expected a whole number")
        key, ranks = (record["image_id"], record["round_id"]), record["ranks"]
        count = len(ranks) if isinstance(ranks, list) else 0
        if not count or any(type(rank) is not int for rank in ranks) or set(ranks) != set(range(1, count + 1)):
            raise UserError(
                f"{path}: {_rounds([key])}: ranks are {_fault(ranks)}, expected each of 1 to {count or 100} once"
            )
        if key in found:
            twice.append(key)
        found[key] = count
    if twice:
        raise UserError(f"{path}: stand twice: {_rounds(twice)}; expected each round once")
    if not found:
        raise UserError(f"{path}: holds no ranks, expected some for each round: {_EXPECTED}")
    return found


def _fault(ranks: Any) -> str:
    """What is wrong with ranks that are no permutation."""
    if not isinstance(ranks, list) or not ranks or not all(type(rank) is int for rank in ranks):
        return _short(ranks)
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    outside = sorted({rank for rank in ranks if not 1 <= rank <= len(ranks)})
    return f"{len(ranks)} numbers" + (f", {listing(twice)} twice" if twice else f", {listing(outside)} among them")


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, which JSON can hold; anything else stays for the check to name."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _rounds(keys: list[tuple[int, int]]) -> str:
    return listing([f"image {image} round {number}" for image, number in keys[:5]], len(keys))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
