"""EvalAI's files of visual dialog: `[{"image_id": 42, "round_id": 10, "ranks": [3, 1, ...]}, ...]`.

`ranks[k]` is the rank, from 1, of option k of the file. Which rounds are wanted depends on the split: of val every
round (10 of each image, 20,640 in all), of test the last one of each dialog (8,000). What visdial-bert writes, from a
`processed` file of val, lacks four images; the server refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.reading import json_records
from limner.data.visdial_files import load_split
from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError, listing, short
from limner.files import whole
from limner.metrics.bootstrap import intervals
from limner.metrics.rank_fusion import keep_first, mean_ranks
from limner.metrics.visdial import DialogMetrics, lines_of

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


def check_visdial_submission(
    path: str | Path, split: VisDialSplit, source: str = "the split", records: Iterable[Any] | None = None
) -> int:
    """Check a ranks file against the dialogs it ranks, which errors call `source`; returns how many rounds.

    records: what the file holds, when it has been read already.

    Raises `UserError` (one line) for the first kind of fault found: not a list of objects with image_id, round_id and
    ranks, a round that stands twice, rounds that are not asked for, rounds that are missing, ranks that are no
    permutation or not as many as there are options.
    """
    found = _read(json_records(path, None) if records is None else records, path)
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
    split = load_split(references)
    count = check_visdial_submission(path, split, str(references))
    return f"{path}: good: ranks of {count:,} rounds of {len(split):,} dialogs"


def score_dialog_file(path: str | Path, references: str | Path, dense: str | Path | None = None) -> str:
    """The metrics of a ranks file, by round and by type of question too; what to tell the user.

    Raises `UserError`: as `check_visdial_submission`; the dialogs hide their answers (a test split).
    """
    split = load_split(references, dense)
    metrics = DialogMetrics(split)
    records = list(json_records(path, None))
    check_visdial_submission(path, split, str(references), records)
    scores = metrics.score(records)
    return "\n".join(lines_of(scores, intervals(scores.statistics)))


def fuse_dialog_files(paths: Sequence[str | Path], out: str | Path, *, first: bool = False) -> str:
    """Make one ranks file of several over the same rounds; what to tell the user.

    first: keep the best option of the first file, and order the others by the rest of the files (their mean ranks).
      Otherwise all files make one order of mean ranks. See `limner.metrics.rank_fusion`.

    Raises `UserError`: fewer than two files, a file with a fault, files over different rounds or options.
    """
    if len(paths) < 2:
        raise UserError(f"submission fuse: found {len(paths)} file, expected two or more to make one of")
    found = [_ranks(path) for path in paths]
    for path, other in zip(paths[1:], found[1:]):
        unlike = [key for key in {**found[0], **other} if key not in found[0] or key not in other]
        if unlike:
            raise UserError(f"{path}: ranks other rounds than {paths[0]}: {_rounds(unlike)}; fuse files of one split")
        unlike = [key for key in other if len(other[key]) != len(found[0][key])]
        if unlike:
            raise UserError(f"{path}: ranks other options than {paths[0]}: {_rounds(unlike)}; fuse files of one split")
    rows = []
    for image, number in found[0]:
        given = [each[image, number] for each in found]
        made = keep_first(given[0], mean_ranks(given[1:])) if first else mean_ranks(given)
        rows.append({"image_id": image, "round_id": number, "ranks": made})
    count = write_visdial_submission(out, rows)
    how = f"the best option of {paths[0]}, the others" if first else "the options"
    rest = listing(paths[1:] if first else paths)
    return f"{out}: ranks of {count:,} rounds: {how} as in {rest}"


def _ranks(path: str | Path) -> dict[tuple[int, int], np.ndarray]:
    """The ranks of each (image, round) of a file."""
    records = list(json_records(path, None))
    _read(records, path)
    return {(record["image_id"], record["round_id"]): np.array(record["ranks"]) for record in records}


def _read(records: Iterable[Any], path: object) -> dict[tuple[int, int], int]:
    """Number of ranks of each (image, round)."""
    found: dict[tuple[int, int], int] = {}
    twice = []
    for index, record in enumerate(records):
        if not isinstance(record, dict) or not {"image_id", "round_id", "ranks"} <= record.keys():
            raise UserError(f"{path}: record {index} is {short(record)}, expected {_EXPECTED}")
        for name in ("image_id", "round_id"):
            if type(record[name]) is not int:
                raise UserError(f"{path}: record {index}: {name} is {short(record[name])}, expected a whole number")
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
        return short(ranks)
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    outside = sorted({rank for rank in ranks if not 1 <= rank <= len(ranks)})
    return f"{len(ranks)} numbers" + (f", {listing(twice)} twice" if twice else f", {listing(outside)} among them")


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, which JSON can hold; anything else stays for the check to name."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _rounds(keys: list[tuple[int, int]]) -> str:
    return listing([f"image {image} round {number}" for image, number in keys[:5]], len(keys))
