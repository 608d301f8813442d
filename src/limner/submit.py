"""Challenge files: written from rows, and checked before they are uploaded.

A file is a list of objects with an id and a text: answers to questions here, captions of images in `submit_captions`.
Ranks of candidate answers, with no text, are in `submit_visdial`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limner.data.reading import json_records
from limner.data.vqa_files import read_questions
from limner.errors import UserError, listing
from limner.files import whole


class Kind(NamedTuple):
    """What a challenge asks for."""

    id: str  #: field
    text: str  #: field
    item: str  #: what an id names
    missing: str  #: how a missing text is told


VQA = Kind("question_id", "answer", "question", "no answer to")


def write_vqa_submission(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `[{"question_id": int, "answer": str}, ...]`, as EvalAI takes it, from rows with these two fields.

    Returns the number of answers. Errors as `write_records`.
    """
    return write_records(path, rows, VQA)


def check_vqa_submission(path: str | Path, *question_files: str | Path) -> int:
    """Check a submission against the official question files of its split (usually one); returns the number of answers.

    Raises `UserError` (one line) for the first kind of fault found: not a list of objects with question_id and answer,
    an answer that is empty or no text, double ids, unknown ids, missing ids.
    """
    asked = {number for file in question_files for number in read_questions(file)[0].tolist()}
    return check_records(path, json_records(path, None), asked, " and ".join(map(str, question_files)), VQA)


def write_records(path: str | Path, rows: Iterable[Mapping[str, Any]], kind: Kind) -> int:
    """Write the id and the text of each row; returns how many.

    Nothing is written when a row is wrong: raises `UserError` for an id that is no whole number or stands twice, for a
    text that is none or empty, and for a file that cannot be written (a full disk).
    """
    path = Path(path)
    records = [{kind.id: row[kind.id], kind.text: row[kind.text]} for row in rows]
    read_ids(records, f"{path} (not written)", kind)
    try:
        with whole(path) as part:
            part.write_text(json.dumps(records), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); free space or choose another out=") from None
    return len(records)


def check_records(path: str | Path, records: Iterable[Any], asked: set[int], source: str, kind: Kind) -> int:
    """Check the records of a file against the ids of its split, which `source` names; returns how many there are."""
    found = read_ids(records, path, kind)
    unknown = sorted(found - asked)
    if unknown:
        raise UserError(f"{path}: {kind.item} ids that {source} has not: {listing(unknown)}; is it the same split?")
    missing = sorted(asked - found)
    if missing:
        count = f"{len(missing):,} of {len(asked):,} {kind.item}s"
        raise UserError(f"{path}: {kind.missing} {count}: {listing(missing)}")
    return len(found)


def read_ids(records: Iterable[Any], path: object, kind: Kind) -> set[int]:
    """The ids of records, each once and with a text."""
    seen: set[int] = set()
    twice: set[int] = set()
    for index, record in enumerate(records):
        if not isinstance(record, dict) or not {kind.id, kind.text} <= record.keys():
            expected = f'{{"{kind.id}": 1, "{kind.text}": "text"}}'
            raise UserError(f"{path}: record {index} is {record!r}, expected {expected}")
        number, text = record[kind.id], record[kind.text]
        if type(number) is not int:
            raise UserError(f"{path}: record {index}: {kind.id} is {number!r}, expected a whole number")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{path}: {kind.item} {number}: {kind.text} is {text!r}, expected a text that is not empty")
        if number in seen:
            twice.add(number)
        seen.add(number)
    if twice:
        raise UserError(
            f"{path}: {kind.id} stands twice: {listing(sorted(twice))}; expected one {kind.text} for each {kind.item}"
        )
    if not seen:
        raise UserError(f"{path}: holds no {kind.text}s, expected one for each {kind.item}")
    return seen


def main(argv: Sequence[str]) -> int:
    """`limner submission check|score|fuse FILE ...`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner submission", description="Files for evaluation servers.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    kinds = "[{question_id, answer}, ...], [{image_id, caption}, ...] or [{image_id, round_id, ranks}, ...]"
    one = verbs.add_parser("check", help="one answer, caption or ranking for every item, and nothing else")
    one.add_argument("file", metavar="FILE", help=kinds)
    one.add_argument("references", metavar="REFERENCES", help="the split's file of questions, captions or dialogs")
    one.add_argument("--split", help="which images of a Karpathy file the captions are of (default: all)")
    one = verbs.add_parser("score", help="the metrics of a ranks file of visual dialog")
    one.add_argument("file", metavar="RANKS", help="[{image_id, round_id, ranks}, ...]")
    one.add_argument("references", metavar="DIALOGS", help="the split's file of dialogs")
    one.add_argument("--dense", metavar="FILE", help="its dense annotations, for NDCG")
    one = verbs.add_parser("fuse", help="several ranks files of visual dialog as one: the order of mean ranks")
    one.add_argument("files", metavar="RANKS", nargs="+", help="[{image_id, round_id, ranks}, ...], two or more")
    one.add_argument("--keep-first", action="store_true", help="the best option is the first file's (good at MRR), "
                     "the others follow the rest of the files (good at NDCG)")  # fmt: skip
    one.add_argument("--out", required=True, metavar="FILE", help="ranks file to write")
    options = parser.parse_args(argv)
    if options.verb == "check":
        print(checked(options))
        return 0
    from limner.submit_visdial import fuse_dialog_files, score_dialog_file

    if options.verb == "score":
        print(score_dialog_file(options.file, options.references, options.dense))
    else:
        print(fuse_dialog_files(options.files, options.out, first=options.keep_first))
    return 0


def checked(options: argparse.Namespace) -> str:
    """Checks a file of any kind; what to tell the user."""
    first = list(itertools.islice(json_records(options.file, None), 1))
    if first and isinstance(first[0], dict) and "caption" in first[0]:
        from limner.submit_captions import check_caption_file

        return check_caption_file(options.file, options.references, options.split)
    if options.split is not None:
        raise UserError(f"--split: {options.file} holds no captions: questions and dialogs are a file for each split")
    if first and isinstance(first[0], dict) and "ranks" in first[0]:
        from limner.submit_visdial import check_dialog_file

        return check_dialog_file(options.file, options.references)
    return f"{options.file}: good: {check_vqa_submission(options.file, options.references):,} answers"
