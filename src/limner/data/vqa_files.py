"""The official VQA v2 question and annotation files, read in a stream into a few arrays.

`load_split` turns 443,757 questions with 4,437,570 answers into about 120 MB of arrays and strings. The writers make
the same files, for data of one's own.
"""

from __future__ import annotations

import gzip
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.cache import cached, content_key
from limner.data.reading import json_records
from limner.errors import UserError, listing

ANSWERS = 10  # people who answered each VQA question
_CACHE = "vqa-split-1"  # a new number whenever the arrays change their meaning
_TABLE_OF = {
    "answers": "strings",
    "multiple_choice": "strings",
    "answer_type": "answer_types",
    "question_type": "question_types",
}  # array -> the table of texts it points into
_NEXT_STEP = "get the official files with `python scripts/get_data.py vqa`, or check the path"


@dataclass(frozen=True, eq=False)
class VQASplit:
    """Questions of one split, and what people answered when that is known. Q questions, W answers at most (10).

    Order: that of the question file. Without annotations (test splits) the optional arrays are None.

    question_id, image_id    (Q,) int64
    questions                Q strings as written
    strings                  the distinct answers as written; `answers` and `multiple_choice` point into it
    answers                  (Q, W) int32, -1 behind the last answer of a question
    multiple_choice          (Q,) int32, the most common answer as the file has it
    answer_type              (Q,) int16 into `answer_types` (yes/no, number, other)
    question_type            (Q,) int16 into `question_types` (its first words, 65 in VQA v2)
    """

    question_id: np.ndarray
    image_id: np.ndarray
    questions: list[str]
    strings: list[str] = field(default_factory=list)
    answers: np.ndarray | None = None
    multiple_choice: np.ndarray | None = None
    answer_type: np.ndarray | None = None
    question_type: np.ndarray | None = None
    answer_types: list[str] = field(default_factory=list)
    question_types: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.question_id)

    @property
    def annotated(self) -> bool:
        """True when the answers are known."""
        return self.answers is not None

    def take(self, index: np.ndarray | Sequence[int]) -> VQASplit:
        """The questions at some places, in the order given; the string tables are shared."""
        index = np.asarray(index, np.int64)
        picked = {name: value[index] for name, value in self._named() if isinstance(value, np.ndarray)}
        tables = {name: getattr(self, name) for name in set(_TABLE_OF.values())}
        return VQASplit(questions=[self.questions[i] for i in index], **picked, **tables)

    def _named(self) -> Iterator[tuple[str, Any]]:
        return ((item.name, getattr(self, item.name)) for item in fields(self))


def join(splits: Sequence[VQASplit]) -> VQASplit:
    """Several splits as one, in the order given: train + val, or train + Visual Genome pairs.

    Raises `UserError` when one has annotations and another none, or when a question id stands in two of them.
    """
    if len({split.annotated for split in splits}) != 1:
        raise UserError(
            "join: some splits have annotations and some have none; expected all or none (and at least one)"
        )
    ids = np.concatenate([split.question_id for split in splits])
    _distinct(array("q", ids.tolist()), "the joined splits")
    images = np.concatenate([split.image_id for split in splits])
    texts = [text for split in splits for text in split.questions]
    if not splits[0].annotated:
        return VQASplit(ids, images, texts)
    width = max(split.answers.shape[1] for split in splits if split.answers is not None)
    tables: dict[str, dict[str, int]] = {name: {} for name in _TABLE_OF.values()}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _TABLE_OF}
    for split in splits:
        merged = {name: _merge(table, getattr(split, name)) for name, table in tables.items()}
        for name, table_name in _TABLE_OF.items():
            values = getattr(split, name)
            if name == "answers":
                values = np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=-1)
            columns[name].append(merged[table_name][values].astype(values.dtype))
    whole: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    whole |= {name: list(table) for name, table in tables.items()}
    return VQASplit(ids, images, texts, **whole)


def _merge(table: dict[str, int], names: list[str]) -> np.ndarray:
    """Add names to a table of ids; gives the id there of each of them, and -1 at the end for the place -1."""
    return np.array([table.setdefault(name, len(table)) for name in names] + [-1], np.int64)


def load_split(
    questions: str | Path, annotations: str | Path | None = None, *, cache: str | Path | None = None
) -> VQASplit:
    """Read the official files, plain or .gz.

    questions: `{"questions": [{question_id, image_id, question}, ...]}`.
    annotations: `{"annotations": [{question_id, image_id, answers: [{answer, ...}, ...], multiple_choice_answer,
      answer_type, question_type}, ...]}`; None for test splits. The last three may be absent from ALL records (data of
      one's own): the first most frequent answer and the type "unspecified" stand in. Two to any number of answers are
      read as they are; a single answer stands for ten people who agree, as published converters of Visual Genome do.
    cache: folder in which the parsed arrays are kept, found again by the content of the two files; None: no cache.

    Raises `UserError` (one line: file, record, found, expected): missing or damaged file, invalid JSON, wrong key at
    the top, missing field or field of another kind, empty question, no answer, an id that stands twice, questions
    and annotations that do not belong together.
    """
    if cache is None:
        return _parse(questions, annotations)

    def build() -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        named = dict(_parse(questions, annotations)._named())
        arrays = {name: value for name, value in named.items() if isinstance(value, np.ndarray)}
        return arrays, {name: value for name, value in named.items() if isinstance(value, list)}

    arrays, lists = cached(cache, f"{_CACHE}-{content_key(questions, annotations)}", build)
    return VQASplit(**arrays, **lists)  # type: ignore[arg-type]


def _parse(questions: str | Path, annotations: str | Path | None) -> VQASplit:
    ids, images, texts = read_questions(questions)
    if annotations is None:
        return VQASplit(ids, images, texts)
    found = _Annotations(annotations)
    order = _align(questions, ids, images, annotations, found.ids, found.images)
    return VQASplit(
        ids,
        images,
        texts,
        list(found.strings),
        found.answers()[order],
        found.best()[order],
        found.types("answer_type")[order],
        found.types("question_type")[order],
        list(found.names["answer_type"]),
        list(found.names["question_type"]),
    )


def read_questions(path: str | Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A question file: question ids (Q,) int64, image ids (Q,) int64, texts. Raises as `load_split`."""
    ids, images, texts = array("q"), array("q"), []
    for index, record in enumerate(json_records(path, "questions", next_step=_NEXT_STEP)):
        where = f"{path}: questions[{index}]"
        _append_ids(record, ids, images, where)
        text = record.get("question")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where} (question_id {ids[-1]}): field 'question' is {text!r}, expected a text")
        texts.append(text)
    return _distinct(ids, path), np.array(images, np.int64), texts


def _append_ids(record: Any, ids: array, images: array, where: str) -> None:
    if not isinstance(record, dict):
        raise UserError(f"{where}: found {_short(record)}, expected an object with the fields of VQA v2")
    for name, target in (("question_id", ids), ("image_id", images)):
        value = record.get(name)
        if type(value) is not int or abs(value) >= 1 << 63:
            found = f"is {_short(value)}" if name in record else "is missing"
            raise UserError(f"{where}: field {name!r} {found}, expected a whole number")
        target.append(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _distinct(ids: array, path: str | Path) -> np.ndarray:
    result = np.array(ids, np.int64)
    if not len(result):
        raise UserError(f"{path}: holds no records, expected at least one question")
    values, counts = np.unique(result, return_counts=True)
    if len(values) < len(result):
        twice = values[counts > 1]
        raise UserError(f"{path}: question_id stands twice: {listing(twice.tolist())}; each question needs its own id")
    return result


def _align(
    questions: str | Path,
    ids: np.ndarray,
    images: np.ndarray,
    annotations: str | Path,
    ids_a: np.ndarray,
    images_a: np.ndarray,
) -> np.ndarray:
    """Places of the annotations in the order of the questions."""
    for name, missing in (
        (f"questions without annotations ({annotations})", np.setdiff1d(ids, ids_a)),
        (f"annotations without questions ({questions})", np.setdiff1d(ids_a, ids)),
    ):
        if len(missing):
            first = listing(missing[:5].tolist(), len(missing))
            raise UserError(f"{questions}, {annotations}: {name}: {first}; give two files of the same split")
    order_a = np.argsort(ids_a, kind="stable")
    order = order_a[np.searchsorted(ids_a, ids, sorter=order_a)]
    other = np.flatnonzero(images_a[order] != images)
    if len(other):
        first = listing(ids[other[:5]].tolist(), len(other))
        raise UserError(
            f"{questions}, {annotations}: image_id differs for questions {first}; give two files of one split"
        )
    return order


class _Annotations:
    """Collects the annotation records as they stream by."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.strings: dict[str, int] = {}
        self.names: dict[str, dict[str, int]] = {"answer_type": {}, "question_type": {}}
        self._types = {"answer_type": array("h"), "question_type": array("h")}
        self._flat, self._counts, self._best = array("i"), array("i"), array("i")
        ids, images = array("q"), array("q")
        for index, record in enumerate(json_records(path, "annotations", next_step=_NEXT_STEP)):
            _append_ids(record, ids, images, f"{path}: annotations[{index}]")
            try:
                self._add(record)
            except (KeyError, TypeError, AttributeError):
                raise self._wrong(record, f"{path}: annotations[{index}] (question_id {ids[-1]})") from None
        self.ids, self.images = _distinct(ids, path), np.array(images, np.int64)

    def _add(self, record: dict[str, Any]) -> None:
        strings = self.strings
        given = [item["answer"] for item in record["answers"]]
        best = record.get("multiple_choice_answer", given[0] if given else None)
        if not given or set(map(type, given)) != {str} or type(best) is not str:
            raise TypeError
        row = [strings.setdefault(text, len(strings)) for text in given]
        self._flat.extend(row * ANSWERS if len(row) == 1 else row)
        self._counts.append(ANSWERS if len(row) == 1 else len(row))
        self._best.append(strings.setdefault(best, len(strings)) if "multiple_choice_answer" in record else -1)
        for name, known in self.names.items():
            value = record.get(name)
            if value is not None:
                value.lower()  # a text: anything else is caught as a wrong record
            self._types[name].append(-1 if value is None else known.setdefault(value, len(known)))

    def _wrong(self, record: dict[str, Any], where: str) -> UserError:
        answers = record.get("answers")
        if not isinstance(answers, list) or not answers:
            found = f"is {_short(answers)}" if "answers" in record else "is missing"
            return UserError(f"{where}: field 'answers' {found}, expected a list of one to ten answers")
        for place, item in enumerate(answers):
            if not isinstance(item, dict) or not isinstance(item.get("answer"), str):
                return UserError(f'{where}: answers[{place}] is {_short(item)}, expected {{"answer": "some text"}}')
        for name in ("multiple_choice_answer", "answer_type", "question_type"):
            if name in record and not isinstance(record[name], str):
                return UserError(f"{where}: field {name!r} is {_short(record[name])}, expected a text")
        return UserError(f"{where}: found {_short(record)}, expected an annotation of VQA v2")

    def answers(self) -> np.ndarray:
        """(Q, W) int32, -1 behind the last answer."""
        counts = np.array(self._counts)
        table = np.full((len(counts), max(ANSWERS, int(counts.max()))), -1, np.int32)
        table[np.arange(table.shape[1]) < counts[:, None]] = np.array(self._flat, np.int32)
        return table

    def best(self) -> np.ndarray:
        """(Q,) int32: multiple_choice_answer, or the first most frequent answer when no record has that field."""
        best = np.array(self._best, np.int32)
        if self._all_or_none(best, "multiple_choice_answer"):
            return best
        answers = self.answers()
        votes = (answers[:, :, None] == answers[:, None, :]).sum(2) * (answers >= 0)
        return answers[np.arange(len(answers)), votes.argmax(1)]

    def types(self, name: str) -> np.ndarray:
        """(Q,) int16 into `names[name]`."""
        types = np.array(self._types[name], np.int16)
        if self._all_or_none(types, name):
            return types
        self.names[name]["unspecified"] = 0
        return np.zeros_like(types)

    def _all_or_none(self, values: np.ndarray, name: str) -> bool:
        missing = np.flatnonzero(values < 0)
        if 0 < len(missing) < len(values):
            first = listing(self.ids[missing[:5]].tolist(), len(missing))
            raise UserError(f"{self.path}: field {name!r} is missing for questions {first}; give it to all or to none")
        return not len(missing)


def write_questions(path: str | Path, records: Iterable[dict[str, Any]], **info: Any) -> int:
    """Write an official question file; .gz in the name compresses. Returns the number of records.

    records: dicts with question_id, image_id, question. info: more keys at the top, such as data_subtype="train2014".
    """
    return _write(path, "questions", records, {"task_type": "Open-Ended", "data_type": "mscoco", **info})


def write_annotations(path: str | Path, records: Iterable[dict[str, Any]], **info: Any) -> int:
    """Write an official annotation file; .gz in the name compresses. Returns the number of records.

    records: dicts as in `load_split`; the official evaluator also wants `answer_id` 1 to 10 and `answer_confidence`.
    """
    return _write(path, "annotations", records, {"data_type": "mscoco", **info})


def _write(path: str | Path, key: str, records: Iterable[dict[str, Any]], info: dict[str, Any]) -> int:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with gzip.open(temporary, "wt", 6) if path.suffix == ".gz" else open(temporary, "w") as stream:
            stream.write(json.dumps(info)[:-1] + f', "{key}": [')
            for count, record in enumerate(records, start=1):
                stream.write((",\n" if count > 1 else "\n") + json.dumps(record))
            stream.write("\n]}\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
