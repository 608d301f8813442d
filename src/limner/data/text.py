"""Words of questions: the published tokenisation of Up-Down VQA and its vocabulary.

Source: the behaviour of bottom-up-attention-vqa (`Dictionary`), equal on its golden ids. Padding is not done here: the
model's question encoder takes right-padded tokens with pad id `len(vocabulary)` and treats pads as the published left
padding does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from limner.errors import UserError, listing

MAX_LEN = 14  # first words of a question that the published model reads

Unknown = Literal["error", "skip"]


def tokenize(question: str) -> list[str]:
    """Words of a question by the published rules: lower case, no `,` and `?`, `'s` apart, split at white space.

    Nothing else is split: `"stop"`, `boy.` and `red/white` stay single words.
    """
    return question.lower().replace(",", "").replace("?", "").replace("'s", " 's").split()


class Vocabulary:
    """The words a question encoder knows; a word's id is its place, the pad id is `len(vocabulary)`.

    Attributes: `words` (tuple), `ids` (word -> id), `pad` (int).

    `unknown`, at encoding, says what happens to a word that is not here (there is no UNK row in the published model):
      "error"  raise a `UserError` that lists the words; right for training and evaluation, as published
      "skip"   leave the word out, before the first `max_len` words are taken; right for questions that users type in.
               A question of unknown words only becomes empty.
    """

    def __init__(self, words: Iterable[str]) -> None:
        """Raises `UserError` for a word that stands twice or is no non-empty string."""
        self.words = tuple(words)
        wrong = [word for word in self.words if not isinstance(word, str) or not word]
        if wrong:
            raise UserError(f"vocabulary: found {listing(map(repr, wrong))}, expected words as non-empty strings")
        self.ids = {word: place for place, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise UserError(f"vocabulary: words stand twice: {listing(twice)}; each word needs one place")
        self.pad = len(self.words)

    @classmethod
    def build(cls, questions: Iterable[str], *, min_count: int = 1) -> Vocabulary:
        """Words in the order first seen; `min_count` leaves out rarer ones (published: 1, nothing is left out).

        The published vocabulary is built over the questions of train, val, test and test-dev, in this order.
        """
        counts: dict[str, int] = {}
        for question in questions:
            for word in tokenize(question):
                counts[word] = counts.get(word, 0) + 1
        return cls(word for word, count in counts.items() if count >= min_count)

    @classmethod
    def from_json(cls, data: Any, source: str = "vocabulary") -> Vocabulary:
        """From what `to_json` gave, or from a plain list of words. `source` names the file in an error."""
        words = data.get("words") if isinstance(data, Mapping) else data
        if not isinstance(words, list):
            raise UserError(f'{source}: expected a list of words, or an object with the key "words" that holds one')
        return cls(words)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"words": list(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    __hash__ = None  # type: ignore[assignment]

    def encode(self, text: str, max_len: int = MAX_LEN, *, unknown: Unknown = "error") -> list[int]:
        """Ids of the first `max_len` words of a question, unpadded."""
        flat, _ = self.encode_all([text], max_len, unknown=unknown)
        return flat.tolist()

    def encode_all(
        self, questions: Sequence[str], max_len: int = MAX_LEN, *, unknown: Unknown = "error"
    ) -> tuple[np.ndarray, np.ndarray]:
        """All questions: `flat (N,) int32, offsets (Q+1,) int64`; question q is `flat[offsets[q]:offsets[q+1]]`.

        Raises `UserError` that lists unknown words under `unknown="error"`; words behind `max_len` are not looked at
        (published code looks at them too, so it fails where this does not).
        """
        if max_len < 1:
            raise UserError(f"max_len: found {max_len}, expected 1 or more")
        if unknown not in ("error", "skip"):
            raise UserError(f"unknown: found {unknown!r}, expected 'error' or 'skip'")
        flat: list[int] = []
        lengths = np.empty(len(questions), np.int64)
        lost: dict[str, int] = {}  # unknown word -> first question that has it
        look_up = self.ids.get
        for index, question in enumerate(questions):
            ids: list[Any] = [look_up(word) for word in tokenize(question)]
            if unknown == "skip":
                ids = [number for number in ids if number is not None]
            ids = ids[:max_len]
            if None in ids:
                for word, number in zip(tokenize(question), ids):
                    if number is None:
                        lost.setdefault(word, index)
            else:
                flat += ids
                lengths[index] = len(ids)
        if lost:
            first = next(iter(lost.values()))
            raise UserError(
                f"words not in the vocabulary of {len(self):,}: {listing(lost)} (first in {questions[first]!r}); "
                "build the vocabulary over these questions too, or encode with unknown=skip"
            )
        offsets = np.zeros(len(questions) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return np.asarray(flat, np.int32), offsets
