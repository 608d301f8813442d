"""Challenge files: written from rows, and checked before they are uploaded."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from limner.data.reading import json_records
from limner.data.vqa_files import read_questions
from limner.errors import UserError, listing


def write_vqa_submission(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `[{"question_id": int, "answer": str}, ...]`, as EvalAI takes it, from rows with these two fields.

    Returns the number of answers. Nothing is written when a row is wrong: raises `UserError` for an id that is no whole
    number or stands twice, for an answer that is no text or empty, and for a file that cannot be written (a full disk).
    """
    path = Path(path)
    answers = [{"question_id": row["question_id"], "answer": row["answer"]} for row in rows]
    _check(answers, f"{path} (not written)")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(answers), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); free space or choose another out=") from None
    finally:
        with suppress(OSError):  # where no folder could be made there is nothing to remove
            temporary.unlink(missing_ok=True)
    return len(answers)


def check_vqa_submission(path: str | Path, *question_files: str | Path) -> int:
    """Check a submission against the official question files of its split (usually one); returns the number of answers.

    Raises `UserError` (one line) for the first kind of fault found: not a list of objects with question_id and answer,
    an answer that is empty or no text, double ids, unknown ids, missing ids.
    """
    answered = _check(json_records(path, None), path)
    asked = {number for file in question_files for number in read_questions(file)[0].tolist()}
    unknown = sorted(answered - asked)
    if unknown:
        source = " and ".join(map(str, question_files))
        raise UserError(f"{path}: question ids that {source} has not: {listing(unknown)}; is it the same split?")
    missing = sorted(asked - answered)
    if missing:
        raise UserError(f"{path}: no answer to {len(missing):,} of {len(asked):,} questions: {listing(missing)}")
    return len(answered)


def _check(records: Iterable[Any], path: object) -> set[int]:
    """The ids answered, each once and with a text."""
    seen: set[int] = set()
    twice: set[int] = set()
    for index, record in enumerate(records):
        if not isinstance(record, dict) or not {"question_id", "answer"} <= record.keys():
            raise UserError(f'{path}: record {index} is {record!r}, expected {{"question_id": 1, "answer": "text"}}')
        question_id, answer = record["question_id"], record["answer"]
        if type(question_id) is not int:
            raise UserError(f"{path}: record {index}: question_id is {question_id!r}, expected a whole number")
        if not isinstance(answer, str) or not answer.strip():
            raise UserError(f"{path}: question {question_id}: answer is {answer!r}, expected a text that is not empty")
        if question_id in seen:
            twice.add(question_id)
        seen.add(question_id)
    if twice:
        raise UserError(f"{path}: question_id stands twice: {listing(sorted(twice))}; give one answer a question")
    if not seen:
        raise UserError(f"{path}: holds no answers, expected one for each question")
    return seen


def main(argv: list[str]) -> int:
    """`limner submission check FILE QUESTIONS`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner submission", description="Files for the VQA evaluation server.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="one answer for every question of the split, and nothing else")
    check.add_argument("file", metavar="FILE", help="the submission: [{question_id, answer}, ...]")
    check.add_argument("questions", metavar="QUESTIONS", help="the split's official question file")
    options = parser.parse_args(argv)
    print(f"{options.file}: good: {check_vqa_submission(options.file, options.questions):,} answers")
    return 0
