"""The official accuracy of VQA v2, to the last digit, over arrays instead of dictionaries.

Source: the behaviour of VQAEval of the VQA v2 release. What its numbers depend on, kept here:

- Prediction and references are normalised ONLY when the references, their ends stripped, are not all equal. Where ten
  people agree, "Yes" is wrong against "yes"; so let a model answer in the normal form.
- A person's answer is compared with those of the others: accuracy = mean over people of min(1, others who agree / 3).
- Means are over questions, also for each type; rounding to two digits comes last, by Python's rule.
- Sums are taken one by one in the order of the questions, so that even a rounding tie falls as in the original.

The original changes its annotations while it reads them, so that a second call may differ; this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import UserError, listing
from limner.metrics.normalize import clean_space, normalize_answer

if TYPE_CHECKING:
    from limner.data.vqa_split import VQASplit

Rows = Iterable[Mapping[str, Any]]


def accuracy(
    rows: Rows, references: VQASplit, *, subset: Iterable[int] | None = None, digits: int = 2
) -> dict[str, Any]:
    """Accuracy in percent, as the official evaluator reports it.

    rows: dicts with `question_id` and `answer`, exactly one for each question of `references`.
    subset: question ids to judge (then other known questions may have rows or not); default all.
    digits: the official `n`.

    Returns `{"overall": 68.35, "answer_type": {"yes/no": ...}, "question_type": {...}, "questions": 8977,
    "unrounded": {"overall": ..., "answer_type": ..., "question_type": ...}}`.
    Raises `UserError` that lists missing, unknown and double question ids.
    """
    places, values = _judge(rows, references, subset)
    exact: dict[str, Any] = {"overall": _mean(values)}
    for name in ("answer_type", "question_type"):
        kinds = getattr(references, name)[places]
        names = getattr(references, f"{name}s")
        exact[name] = {names[kind]: _mean(values[kinds == kind]) for kind in np.unique(kinds).tolist()}
    rounded = {
        name: {kind: round(number, digits) for kind, number in value.items()}
        if isinstance(value, dict)
        else round(value, digits)
        for name, value in exact.items()
    }
    return {**rounded, "questions": len(places), "unrounded": exact}


def per_question(rows: Rows, references: VQASplit, *, subset: Iterable[int] | None = None) -> dict[int, float]:
    """Accuracy of each question in percent, not rounded, by question id. Arguments and errors as `accuracy`."""
    places, values = _judge(rows, references, subset)
    return dict(zip(references.question_id[places].tolist(), (100 * values).tolist()))


def _mean(values: np.ndarray) -> float:
    """100 times the mean; the sum runs from the first value to the last (np.sum adds in pairs)."""
    return 100 * float(np.add.accumulate(values)[-1]) / len(values)


def _judge(rows: Rows, references: VQASplit, subset: Iterable[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Places in the references of the questions to judge, and the accuracy of each in 0..1."""
    if references.answers is None:
        raise UserError("VQA accuracy: the references have no annotations; give the annotation file of this split")
    places = np.arange(len(references)) if subset is None else _places_of(subset, references.question_id)
    given = _answers_by_place(rows, references.question_id, places)

    people = references.answers[places]  # [q, w]
    there = people >= 0
    strings: dict[str, int] = {}  # every text that is compared -> a number
    clean = _numbers(references.strings, clean_space, strings)[people]
    agreed = ((clean == clean[:, :1]) | ~there).all(1)  # [q]
    normal = _numbers(references.strings, _normal, strings)[people]
    people = np.where(there, np.where(agreed[:, None], clean, normal), -1)
    answers = [clean_space(text) if same else _normal(text) for text, same in zip(given, agreed.tolist())]
    answer = np.array([strings.get(text, -2) for text in answers], np.int64)

    match = people == answer[:, None]  # [q, w]
    others = match.sum(1, keepdims=True) - match
    each = np.where(there, np.minimum(1.0, others / 3), 0.0)
    return places, np.add.accumulate(each, axis=1)[:, -1] / there.sum(1)


def _normal(text: str) -> str:
    return normalize_answer(clean_space(text))


def _numbers(texts: list[str], form: Callable[[str], str], table: dict[str, int]) -> np.ndarray:
    """The number in `table` of each text's form; new forms are added. One more at the end, for the place -1."""
    return np.array([table.setdefault(form(text), len(table)) for text in texts] + [-1], np.int64)


def _places_of(subset: Iterable[int], known: np.ndarray) -> np.ndarray:
    """Places of some ids, each once, in the order given."""
    ids = np.fromiter(dict.fromkeys(subset), np.int64)
    if not len(ids):
        raise UserError("VQA accuracy: the subset is empty, expected at least one question id")
    unknown = ids[~np.isin(ids, known)]
    if len(unknown):
        raise UserError(f"VQA accuracy: subset has unknown question ids: {listing(unknown.tolist())}")
    order = np.argsort(known, kind="stable")
    return order[np.searchsorted(known, ids, sorter=order)]


def _answers_by_place(rows: Rows, known: np.ndarray, places: np.ndarray) -> list[str]:
    """The answer to each question of `places`; every way in which rows and references do not fit is an error."""
    given: dict[int, str] = {}
    twice = []
    for row in rows:
        try:
            question_id, text = row["question_id"], row["answer"]
        except (KeyError, TypeError):
            raise UserError(f"VQA accuracy: found the row {row!r}, expected question_id and answer in it") from None
        if not isinstance(text, str):
            raise UserError(f"VQA accuracy: the answer to question {question_id} is {text!r}, expected a text")
        if question_id in given:
            twice.append(question_id)
        given[question_id] = text
    wanted = known[places].tolist()
    problems = []
    for what, ids in (
        ("missing", [question_id for question_id in wanted if question_id not in given]),
        ("unknown", sorted(given.keys() - set(known.tolist()))),
        ("double", twice),
    ):
        if ids:
            problems.append(f"{len(ids):,} {what} ({listing(ids)})")
    if problems:
        raise UserError(
            f"VQA accuracy: answers to {len(given):,} questions, references for {len(wanted):,}: "
            f"{', '.join(problems)}; expected exactly one answer a question"
        )
    return [given[question_id] for question_id in wanted]
