"""Questions and their answers as a few arrays: what every part of VQA works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from limner.errors import Fault, UserError, listing, refuse

_TABLE_OF = {
    "answers": "strings",
    "multiple_choice": "strings",
    "answer_type": "answer_types",
    "question_type": "question_types",
}  # array -> the table of texts it points into


@dataclass(frozen=True, eq=False)
class VQASplit:
    """Questions of one split, and what people answered when that is known. Q questions, W answers at most (10).

    Order: that of the question file. Without annotations (test splits) the optional arrays are None.

    question_id, image_id    (Q,) int64
    questions                Q strings as written
    strings                  the distinct answers as written; `answers` and `multiple_choice` point into it
    answers                  (Q, W) int32, -1 behind the last answer of a question
    multiple_choice          (Q,) int32, the most common answer as the file has it
    answer_type              (Q,) int32 into `answer_types` (yes/no, number, other)
    question_type            (Q,) int32 into `question_types` (its first words, 65 in VQA v2)
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
        picked = {name: value[index] for name, value in self.named() if isinstance(value, np.ndarray)}
        tables = {name: getattr(self, name) for name in set(_TABLE_OF.values())}
        return VQASplit(questions=[self.questions[i] for i in index], **picked, **tables)

    def named(self) -> Iterator[tuple[str, Any]]:
        """Field names and values, e.g. to store them."""
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
    distinct_ids(ids, "the joined splits")
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


def distinct_ids(ids: Sequence[int] | np.ndarray, source: object, *, fault: Fault = refuse) -> np.ndarray:
    """Question ids as an array; a fault (which names the source) when there is none or one stands twice."""
    result = np.asarray(ids, np.int64)
    if not len(result):
        fault(UserError(f"{source}: holds no records, expected at least one question"))
    values, counts = np.unique(result, return_counts=True)
    if len(values) < len(result):
        twice = values[counts > 1]
        line = f"{source}: question_id stands twice: {listing(twice.tolist())}; each question needs its own id"
        fault(UserError(line))
    return result
