"""The files of VisDial 1.0 (and 0.9), read in a stream into a few arrays.

dialogs   {"version": "1.0", "split": "val2018", "data": {"questions": [texts], "answers": [texts], "dialogs":
           [{"image_id": 42, "caption": "a dog", "dialog": [{"question": 7, "answer": 3, "gt_index": 9,
           "answer_options": [100 places in answers]}, ... ten rounds]}]}}
dense     [{"image_id": 42, "round_id": 4, "gt_relevance": [100 shares]}, ...]; training files say "relevance"

A test split hides the last answer of each dialog, tells no `gt_index`, stops after any round, and has options in its
last round alone. `visdial_1.0_*_processed.json` of visdial-bert is the same format without the dialogs it found too
long; its test file lost the oldest rounds of such dialogs instead and tells by `round_id` how many there were.

One's own dialogs may be a list, texts in place of numbers (`from_dialogs`); `gt_index` is then found by the answer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.cache import cached, content_key
from limner.data.reading import first_character, json_members, json_records
from limner.data.text_pool import TextWriter
from limner.data.visdial_split import VisDialSplit, distinct_images, join
from limner.errors import Fault, UserError, field_found, listing, refuse, short

__all__ = ["VisDialSplit", "from_dialogs", "join", "load_split"]

_CACHE = "visdial-split-1"  # a new number whenever the arrays change
_KIND = 'VisDial\'s {"version", "split", "data": {"questions", "answers", "dialogs"}}'
_NEXT_STEP = "check the path; limner data get visdial fetches the official files"
_RELEVANCE = ("gt_relevance", "relevance")


def load_split(
    dialogs: str | Path,
    dense: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    fault: Fault = refuse,
) -> VisDialSplit:
    """Read a dialog file and its dense annotations, plain or .gz.

    dialogs: a file as above, of any split. The number of rounds and of options is free; only the last round of a dialog
      may lack its answer.
    dense: dense annotations of any of its dialogs; None: none. Those of images that the dialog file has not (the
      processed files are shorter) are left out and counted as `unmatched`.
    cache: folder in which the arrays are kept, found again by the content of the two files; None: no cache.
    fault: what is done with a fault of a dialog or of its annotations; without a cache, it may collect them.

    Raises `UserError` (one line: file, place, found, expected): missing or damaged file, invalid JSON, another kind of
    file, a field that is missing or of another kind, a place outside the pools, an image id that stands twice, dense
    annotations of another split, of another round or of another number of options.
    """

    def build() -> tuple[dict[str, np.ndarray], None]:
        split = _read_dialogs(dialogs, fault)
        return (split if dense is None else _with_dense(split, dense, dialogs, fault)).arrays(), None

    key = "" if cache is None else f"{_CACHE}-{content_key(dialogs, dense)}"
    arrays, _ = cached(cache, key, build)
    return VisDialSplit.from_arrays(dict(arrays))


def from_dialogs(
    dialogs: Iterable[Mapping[str, Any]], source: str = "dialogs", *, fault: Fault = refuse
) -> VisDialSplit:
    """A split of one's own dialogs, texts in place of numbers.

    dialogs: `{"image_id": 42, "caption": "a dog", "dialog": [{"question": "is it big", "answer": "yes",
      "answer_options": ["yes", "no"]}, ...]}`; `answer` may be missing in the last round, `answer_options` and
      `gt_index` in any. source: what errors call them. fault: what is done with a fault of a dialog.
    """
    reader = _Dialogs(source, fault)
    pools: dict[str, dict[str, int]] = {"question": {}, "answer": {}}

    def place(text: Any, kind: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"{kind} {short(text)} is no text")
        return pools[kind].setdefault(text, len(pools[kind]))

    for index, record in enumerate(dialogs):
        try:
            rounds = []
            for said in record["dialog"]:
                numbers = {**said, "question": place(said["question"], "question")}
                if "answer" in said:
                    numbers["answer"] = place(said["answer"], "answer")
                if "answer_options" in said:
                    numbers["answer_options"] = [place(text, "answer") for text in said["answer_options"]]
                rounds.append(numbers)
        except KeyError as error:
            fault(UserError(f"{source}[{index}]: field {error} is missing in {short(record)}"))
            continue
        except (TypeError, AttributeError) as error:
            told = f"{error}; expected image_id, caption and dialog, a list of questions and answers"
            fault(UserError(f"{source}[{index}]: {told}"))
            continue
        reader.add({**record, "dialog": rounds}, index)
    for kind, writer in (("question", reader.questions), ("answer", reader.answers)):
        for text in pools[kind]:
            writer.add(text)
    return reader.finish()


def _with_places(record: Any) -> Any:
    """A dialog in texts, with the place of each answer among its options; what is no such dialog as it is."""
    if not isinstance(record, dict) or not isinstance(record.get("dialog"), list):
        return record
    rounds = []
    for said in record["dialog"]:
        options = said.get("answer_options") if isinstance(said, dict) else None
        if isinstance(options, list) and said.get("answer") in options:
            said = {"gt_index": options.index(said["answer"]), **said}
        rounds.append(said)
    return {**record, "dialog": rounds}


def _read_dialogs(path: str | Path, fault: Fault) -> VisDialSplit:
    if first_character(path, next_step=_NEXT_STEP) == "[":
        records = json_records(path, None, next_step=_NEXT_STEP)
        return from_dialogs(map(_with_places, records), f"{path}: dialogs", fault=fault)
    reader = _Dialogs(f"{path}: data.dialogs", fault)
    found = []
    for name, value in json_members(path, expected=_KIND, inside="data", next_step=_NEXT_STEP):
        found.append(name)
        if name in ("data.questions", "data.answers", "data.dialogs") and not isinstance(value, Iterator):
            raise UserError(f"{path}: {name} is {short(value)}, expected a list")
        if name in ("data.questions", "data.answers"):
            writer = getattr(reader, name.removeprefix("data."))
            for index, text in enumerate(value):
                if not isinstance(text, str):
                    fault(UserError(f"{path}: {name}[{index}]: found {short(text)}, expected a text"))
                    text = ""  # the texts behind it keep their places
                writer.add(text)
        elif name == "data.dialogs":
            for index, record in enumerate(value):
                reader.add(record, index)
    missing = [name for name in ("data.questions", "data.answers", "data.dialogs") if name not in found]
    if missing:
        has = listing(found) or "nothing"
        raise UserError(f"{path}: has no {listing(missing)}, found {has}; expected {_KIND}")
    return reader.finish()


class _Dialogs:
    """Collects dialogs as they stream by."""

    def __init__(self, source: str, fault: Fault = refuse) -> None:
        self.source, self.fault = source, fault
        self.questions, self.answers, self.captions = TextWriter(), TextWriter(), TextWriter()
        self.images, self.counts, self.shifts = array("q"), array("q"), array("i")
        self.question, self.answer, self.gt_index = array("i"), array("i"), array("i")
        self.option_counts, self.options = array("q"), array("i")

    def add(self, record: Any, index: int) -> None:
        """One dialog."""
        growing = (self.images, self.counts, self.shifts, self.question, self.answer, self.gt_index, self.option_counts,
                   self.options)  # fmt: skip
        before, captions = [len(column) for column in growing], len(self.captions)
        try:
            self._add(record)
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError):
            generic = UserError(f"{self.source}[{index}]: found {short(record)}, expected a dialog of VisDial")
            for error in list(self._wrong(record, index)) or [generic]:
                self.fault(error)
            for column, length in zip(growing, before):  # nothing of it is kept
                del column[length:]
            self.captions.cut(captions)

    def _add(self, record: dict[str, Any]) -> None:
        if type(record["image_id"]) is not int:
            raise TypeError
        self.images.append(record["image_id"])
        self.captions.add(record["caption"])
        rounds = record["dialog"]
        shift = record.get("round_id", len(rounds)) - len(rounds)
        if not rounds or shift < 0:
            raise ValueError
        self.counts.append(len(rounds))
        self.shifts.append(shift)
        self.question.fromlist(_places(rounds, "question"))
        self.answer.fromlist(_places(rounds, "answer"))
        self.gt_index.fromlist(_places(rounds, "gt_index"))
        for said in rounds:
            options = said.get("answer_options", [])
            self.option_counts.append(len(options))
            self.options.fromlist(options)  # twice as fast as extend
            if not options and "answer_options" in said:
                raise ValueError

    def _wrong(self, record: Any, index: int) -> Iterator[UserError]:
        """All that is wrong with a dialog that `_add` did not take."""
        where = f"{self.source}[{index}]"
        if not isinstance(record, dict):
            yield UserError(f"{where}: found {short(record)}, expected an object with image_id, caption and dialog")
            return
        if _whole(record.get("image_id"), 1 << 63):
            where += f" (image_id {record['image_id']})"
        else:
            yield UserError(f"{where}: {field_found(record, 'image_id')}, expected a whole number")
        rounds = record.get("dialog")
        if not isinstance(record.get("caption"), str):
            yield UserError(f"{where}: {field_found(record, 'caption')}, expected a text")
        if not isinstance(rounds, list) or not rounds:
            yield UserError(f"{where}: {field_found(record, 'dialog')}, expected a list of rounds")
            return
        for number, said in enumerate(rounds, start=1):
            if not isinstance(said, dict):
                yield UserError(f"{where}: round {number} is {short(said)}, expected an object with a question")
                continue
            for name in ("question", "answer", "gt_index"):
                if (name in said or name == "question") and not (_whole(said.get(name)) and said[name] >= 0):
                    yield UserError(
                        f"{where}: round {number}: {field_found(said, name)}, expected a place: 0, 1, 2, ..."
                    )
            options = said.get("answer_options")
            if "answer_options" in said and not (isinstance(options, list) and options and all(map(_whole, options))):
                expected = "expected a list of places in data.answers"
                yield UserError(f"{where}: round {number}: {field_found(said, 'answer_options')}, {expected}")
        if "round_id" in record and not (_whole(record["round_id"]) and record["round_id"] >= len(rounds)):
            expected = f"expected a number of rounds, {len(rounds)} or more"
            yield UserError(f"{where}: {field_found(record, 'round_id')}, {expected}")

    def finish(self) -> VisDialSplit:
        """The arrays."""
        if not self.images:
            raise UserError(f"{self.source}: holds no dialogs, expected at least one")
        split = VisDialSplit(
            np.array(self.images, np.int64),
            _ends(self.counts),
            np.array(self.shifts, np.int32),
            self.captions.pool(),
            self.questions.pool(),
            self.answers.pool(),
            np.array(self.question, np.int32),
            np.array(self.answer, np.int32),
            np.array(self.gt_index, np.int32),
            _ends(self.option_counts),
            np.frombuffer(self.options, np.int32) if self.options else np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
        )
        distinct_images(split.image_id, self.source, fault=self.fault)
        self._check(split)
        return split

    def _check(self, split: VisDialSplit) -> None:
        """What the rounds name must be there."""
        numbers = np.arange(split.rounds)
        last = np.isin(numbers, split.first[1:] - 1)
        questions, answers = len(split.questions), len(split.answers)
        options = np.flatnonzero((split.options < 0) | (split.options >= answers))
        outside = np.unique(np.searchsorted(split.option_first, options, side="right") - 1)
        for wrong, told in (
            (numbers[split.question >= questions], f"question is outside the {questions:,} questions"),
            (numbers[split.answer >= answers], f"answer is outside the {answers:,} answers"),
            (outside, f"answer_options has a place outside the {answers:,} answers"),
            (numbers[(split.answer < 0) & ~last], "has no answer; only the last round of a dialog may lack it"),
            (numbers[split.gt_index >= split.option_counts], "gt_index is outside the answer_options"),
        ):
            if len(wrong):
                where = f"image {split.image_id[split.dialog[wrong[0]]]}, round {split.round_id[wrong[0]]}"
                more = f" (and {len(wrong) - 1:,} more rounds)" if len(wrong) > 1 else ""
                self.fault(UserError(f"{self.source}: {where}: {told}{more}; is the file whole?"))


def _with_dense(split: VisDialSplit, path: str | Path, dialogs: str | Path, fault: Fault) -> VisDialSplit:
    """A split with its dense annotations."""
    place = {image: index for index, image in enumerate(split.image_id.tolist())}
    found: dict[int, np.ndarray] = {}
    unmatched = 0
    for index, record in enumerate(json_records(path, None, next_step=_NEXT_STEP)):
        try:
            judged = _judged(record, split, place, f"{path}: record {index}")
            if judged is None:
                unmatched += 1
                continue
            number, values = judged
            if number in found:
                told = f"round {record['round_id']} of this image stands twice; expected it once"
                raise UserError(f"{path}: record {index} (image_id {record['image_id']}): {told}")
            found[number] = values
        except UserError as error:
            fault(error)
    if not found:
        told = f"none of its {unmatched:,} images is in {dialogs}; give two files of the same split"
        fault(UserError(f"{path}: {told}"))
    order = sorted(found)
    arrays = split.arrays() | {
        "dense": np.array(order, np.int64),
        "relevance": np.concatenate([np.zeros(0, np.float32), *(found[number] for number in order)]),
        "unmatched": np.array(unmatched),
    }
    return VisDialSplit.from_arrays(arrays)


def _judged(record: Any, split: VisDialSplit, place: dict[int, int], where: str) -> tuple[int, np.ndarray] | None:
    """`(round, relevances)` of a record; None when its image is not among the dialogs."""
    if not isinstance(record, dict) or not (_whole(record.get("image_id"), 1 << 63) and "round_id" in record):
        expected = 'expected {"image_id": 1, "round_id": 1, "gt_relevance": [numbers]}'
        raise UserError(f"{where}: found {short(record)}, {expected}")
    where += f" (image_id {record['image_id']})"
    dialog = place.get(record["image_id"])
    if dialog is None:
        return None
    first, last = int(split.first[dialog]), int(split.first[dialog + 1])
    low, high = 1 + int(split.shift[dialog]), last - first + int(split.shift[dialog])
    if not _whole(record["round_id"]) or not low <= record["round_id"] <= high:
        raise UserError(f"{where}: {field_found(record, 'round_id')}, but its dialog has the rounds {low} to {high}")
    number = first + record["round_id"] - low
    return number, _relevance(record, int(split.option_counts[number]), where)


def _relevance(record: dict[str, Any], options: int, where: str) -> np.ndarray:
    """The relevances of a record (options,) float32."""
    name = next((name for name in _RELEVANCE if name in record), None)
    if name is None:
        raise UserError(f"{where}: has neither gt_relevance nor relevance, expected a list of {options} numbers")
    try:
        values = np.array(record[name], np.float32)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.shape != (options,) or not options:
        size = f"has {len(values):,} numbers" if values.ndim == 1 else f"is {short(record[name])}"
        raise UserError(f"{where}: {name} {size}, expected one for each of its {options:,} options")
    if not ((values >= 0) & (values <= 1)).all():
        worst = record[name][int(np.flatnonzero(~((values >= 0) & (values <= 1)))[0])]
        raise UserError(f"{where}: {name} has {worst!r} in it, expected numbers from 0 to 1")
    return values


def _ends(counts: array) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.array(counts, np.int64))])


def _places(rounds: list[dict[str, Any]], name: str) -> list[int]:
    """A place of each round; -1 where it is missing, which only a question must not be."""
    found = [said.get(name, -1) for said in rounds]
    if min(found) < 0 and (name == "question" or any(said.get(name, 0) < 0 for said in rounds)):
        raise ValueError
    return found


def _whole(value: Any, limit: int = 1 << 31) -> bool:
    return type(value) is int and abs(value) < limit
