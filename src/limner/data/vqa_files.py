"""The official VQA v2 question and annotation files, read in a stream into a few arrays.

`load_split` turns 443,757 questions with 4,437,570 answers into about 120 MB of arrays and strings. The writers make
the same files, for data of one's own.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.cache import cached, content_key
from limner.data.reading import json_records
from limner.data.vqa_split import VQASplit, distinct_ids, join
from limner.errors import Fault, UserError, listing, refuse, short
from limner.files import whole

__all__ = ["ANSWERS", "VQASplit", "join", "load_split", "read_questions", "write_annotations", "write_questions"]

ANSWERS = 10  # people who answered each VQA question
_CACHE = "vqa-split-1"  # a new number whenever the arrays change
_NEXT_STEP = "check the path; limner data get vqa_v2 fetches the official files"


def load_split(
    questions: str | Path,
    annotations: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    fault: Fault = refuse,
) -> VQASplit:
    """Read the official files, plain or .gz.

    questions: `{"questions": [{question_id, image_id, question}, ...]}`.
    annotations: `{"annotations": [{question_id, image_id, answers: [{answer, ...}, ...], multiple_choice_answer,
      answer_type, question_type}, ...]}`; None for test splits. The last three may be absent from ALL records (data of
      one's own): the first most frequent answer and the type "unspecified" stand in. Two to any number of answers are
      read as they are; a single answer stands for ten people who agree, as published converters of Visual Genome do.
    cache: folder in which the parsed arrays are kept, found again by the content of the two files; None: no cache.
    fault: what is done with a fault; without a cache, it may collect them.

    Raises `UserError` (one line: file, record, found, expected): missing or damaged file, invalid JSON, wrong key at
    the top, missing field or field of another kind, empty question, no answer, an id that stands twice, questions
    and annotations that do not belong together.
    """
    if cache is None:
        return _parse(questions, annotations, fault)

    def build() -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        named = dict(_parse(questions, annotations, refuse).named())
        arrays = {name: value for name, value in named.items() if isinstance(value, np.ndarray)}
        return arrays, {name: value for name, value in named.items() if isinstance(value, list)}

    arrays, lists = cached(cache, f"{_CACHE}-{content_key(questions, annotations)}", build)
    return VQASplit(**arrays, **lists)  # type: ignore[arg-type]


def _parse(questions: str | Path, annotations: str | Path | None, fault: Fault) -> VQASplit:
    ids, images, texts = read_questions(questions, fault=fault)
    if annotations is None:
        return VQASplit(ids, images, texts)
    found = _Annotations(annotations, fault)
    kept, order = _align(questions, ids, images, annotations, found.ids, found.images, fault)
    if len(kept) < len(ids):
        ids, images, texts = ids[kept], images[kept], [texts[place] for place in kept.tolist()]
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


def read_questions(path: str | Path, *, fault: Fault = refuse) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A question file: question ids (Q,) int64, image ids (Q,) int64, texts. Arguments and errors as `load_split`."""
    ids, images = array("q"), array("q")
    texts: list[str] = []
    for index, record in enumerate(json_records(path, "questions", next_step=_NEXT_STEP)):
        wrong = _ids_faults(record, path, "questions", index)
        text = record.get("question") if isinstance(record, dict) else ""
        if isinstance(record, dict) and (not isinstance(text, str) or not text.strip()):
            where = f"{path}: questions[{index}] (question_id {short(record.get('question_id'))})"
            wrong.append(f"{where}: field 'question' is {short(text)}, expected a text")
        if wrong:
            _tell(wrong, fault)
            continue
        ids.append(record["question_id"])
        images.append(record["image_id"])
        texts.append(record["question"])
    return distinct_ids(ids, path, fault=fault), np.array(images, np.int64), texts


def _tell(wrong: list[str], fault: Fault) -> None:
    for line in wrong:
        fault(UserError(line))


def _ids_faults(record: Any, path: str | Path, key: str, index: int) -> list[str]:
    """What is wrong with the ids of a record."""
    if not isinstance(record, dict):
        return [f"{path}: {key}[{index}]: found {short(record)}, expected an object with the fields of VQA v2"]
    wrong = []
    for name in ("question_id", "image_id"):
        value = record.get(name)
        if type(value) is not int or abs(value) >= 1 << 63:
            found = f"is {short(value)}" if name in record else "is missing"
            wrong.append(f"{path}: {key}[{index}]: field {name!r} {found}, expected a whole number")
    return wrong


def _align(
    questions: str | Path,
    ids: np.ndarray,
    images: np.ndarray,
    annotations: str | Path,
    ids_a: np.ndarray,
    images_a: np.ndarray,
    fault: Fault,
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the questions that have annotations, and of these annotations in the order of the questions."""
    for name, missing in (
        (f"questions without annotations ({annotations})", np.setdiff1d(ids, ids_a)),
        (f"annotations without questions ({questions})", np.setdiff1d(ids_a, ids)),
    ):
        if len(missing):
            first = listing(missing[:5].tolist(), len(missing))
            fault(UserError(f"{questions}, {annotations}: {name}: {first}; give two files of the same split"))
    kept = np.flatnonzero(np.isin(ids, ids_a))
    order_a = np.argsort(ids_a, kind="stable")
    order = order_a[np.searchsorted(ids_a, ids[kept], sorter=order_a)]
    other = kept[images_a[order] != images[kept]]
    if len(other):
        first = listing(ids[other[:5]].tolist(), len(other))
        line = f"{questions}, {annotations}: image_id differs for questions {first}; give two files of one split"
        fault(UserError(line))
    return kept, order


def _numbering() -> defaultdict[str, int]:
    """Gives each new text the next number."""
    table: defaultdict[str, int] = defaultdict()
    table.default_factory = table.__len__
    return table


class _Annotations:
    """Collects the annotation records as they stream by."""

    def __init__(self, path: str | Path, fault: Fault) -> None:
        self.path, self.fault = path, fault
        self.strings = _numbering()
        self.names = {"answer_type": _numbering(), "question_type": _numbering()}
        self._types = {"answer_type": array("i"), "question_type": array("i")}
        self._flat, self._counts, self._best = array("i"), array("i"), array("i")
        self._columns = [
            ("multiple_choice_answer", self.strings, self._best),
            *((name, self.names[name], self._types[name]) for name in self.names),
        ]
        ids, images = array("q"), array("q")
        for index, record in enumerate(json_records(path, "annotations", next_step=_NEXT_STEP)):
            wrong = _ids_faults(record, path, "annotations", index)
            if not wrong:
                try:
                    self._add(record)
                except (KeyError, TypeError, AttributeError):
                    wrong = self._wrong(record, f"{path}: annotations[{index}] (question_id {record['question_id']})")
            if wrong:
                _tell(wrong, fault)
                continue
            ids.append(record["question_id"])
            images.append(record["image_id"])
        self.ids, self.images = distinct_ids(ids, path, fault=fault), np.array(images, np.int64)

    def _add(self, record: dict[str, Any]) -> None:
        given = [item["answer"] for item in record["answers"]]
        if not given:
            raise TypeError
        "".join(given)  # the fastest way to see that all are texts
        types = [record.get(name, "") for name, _, _ in self._columns]
        "".join(types)
        row = [self.strings[text] for text in given]  # nothing is kept of a record before all of it was looked at
        self._flat.extend(row * ANSWERS if len(row) == 1 else row)
        self._counts.append(ANSWERS if len(row) == 1 else len(row))
        for (name, numbering, column), value in zip(self._columns, types):
            column.append(numbering[value] if name in record else -1)

    def _wrong(self, record: dict[str, Any], where: str) -> list[str]:
        """All that is wrong with a record that `_add` did not take."""
        answers = record.get("answers")
        wrong = []
        if not isinstance(answers, list) or not answers:
            found = f"is {short(answers)}" if "answers" in record else "is missing"
            wrong.append(f"{where}: field 'answers' {found}, expected a list of one to ten answers")
        for place, item in enumerate(answers if isinstance(answers, list) else []):
            if not isinstance(item, dict) or not isinstance(item.get("answer"), str):
                wrong.append(f'{where}: answers[{place}] is {short(item)}, expected {{"answer": "some text"}}')
        wrong += [
            f"{where}: field {name!r} is {short(record[name])}, expected a text"
            for name in ("multiple_choice_answer", "answer_type", "question_type")
            if name in record and not isinstance(record[name], str)
        ]
        return wrong or [f"{where}: found {short(record)}, expected an annotation of VQA v2"]

    def answers(self) -> np.ndarray:
        """(Q, W) int32, -1 behind the last answer."""
        counts = np.array(self._counts)
        table = np.full((len(counts), max(ANSWERS, int(counts.max(initial=0)))), -1, np.int32)
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
        """(Q,) int32 into `names[name]`."""
        types = np.array(self._types[name], np.int32)
        if self._all_or_none(types, name):
            return types
        self.names[name]["unspecified"] = 0
        return np.zeros_like(types)

    def _all_or_none(self, values: np.ndarray, name: str) -> bool:
        missing = np.flatnonzero(values < 0)
        if 0 < len(missing) < len(values):
            first = listing(self.ids[missing[:5]].tolist(), len(missing))
            line = f"{self.path}: field {name!r} is missing for questions {first}; give it to all or to none"
            self.fault(UserError(line))
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
    count = 0
    with whole(path) as part, gzip.open(part, "wt", 6) if path.suffix == ".gz" else open(part, "w") as stream:
        stream.write(json.dumps(info)[:-1] + f', "{key}": [')
        for count, record in enumerate(records, start=1):
            stream.write((",\n" if count > 1 else "\n") + json.dumps(record))
        stream.write("\n]}\n")
    return count
