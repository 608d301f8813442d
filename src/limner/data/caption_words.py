"""The words a captioner knows, and the ids of the three signs that are no words.

Words have the ids 0 .. V-1. Behind them stand EOS = V (the end of a caption), BOS = V+1 (what a model reads first) and
PAD = V+2 (nothing: behind the end in a batch; no model ever reads it). Three different ids: a model that predicts the
end is not taught anything about padding. Its word layer has V+1 outputs, the words and EOS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from limner.errors import UserError, listing

UNKNOWN = "<unk>"
MIN_COUNT = 5


class CaptionVocabulary:
    """Words of captions and their ids.

    Attributes:
        words: tuple of V words; a word's id is its place.
        ids: word -> id.
        eos, bos, pad: V, V+1, V+2.
        unk: the id of `<unk>`, which stands for every word that is not here; None in a vocabulary without it.

    Raises:
        UserError: for a word that stands twice or is no non-empty string.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        wrong = [word for word in self.words if not isinstance(word, str) or not word]
        if wrong:
            raise UserError(f"vocabulary: found {listing(map(repr, wrong))}, expected words as non-empty strings")
        self.ids = {word: place for place, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise UserError(f"vocabulary: words stand twice: {listing(twice)}; each word needs one place")
        self.eos = len(self.words)
        self.bos = self.eos + 1
        self.pad = self.eos + 2
        self.unk = self.ids.get(UNKNOWN)

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = MIN_COUNT) -> CaptionVocabulary:
        """The vocabulary of captions given as lists of words; see `from_counts`."""
        counts: Counter[str] = Counter()
        for words in captions:
            counts.update(words)
        return cls.from_counts(counts, min_count)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_count: int = MIN_COUNT) -> CaptionVocabulary:
        """Words that occur `min_count` times or more, the most frequent first, equal ones by the alphabet.

        `<unk>` is id 0, also when every word is frequent enough: words of other captions may be unknown. The least
        count 5 is that of the paper and of its release (Anderson et al. 2018, section 4.2: 10,010 words of COCO).
        """
        if min_count < 1:
            raise UserError(f"min_count: found {min_count}, expected 1 or more")
        kept = [word for word, count in counts.items() if count >= min_count and word != UNKNOWN]
        return cls([UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))])

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CaptionVocabulary) and self.words == other.words

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"CaptionVocabulary({len(self):,} words)"

    def encode(self, words: Sequence[str]) -> list[int]:
        """Ids of words, without BOS and EOS.

        Raises:
            UserError: that lists the words that are not here, when there is no `<unk>` to stand for them.
        """
        if self.unk is not None:
            return [self.ids.get(word, self.unk) for word in words]
        lost = [word for word in dict.fromkeys(words) if word not in self.ids]
        if lost:
            raise UserError(
                f"words not in the vocabulary of {len(self):,}, which has no {UNKNOWN}: {listing(map(repr, lost))}; "
                f"leave them out, or add {UNKNOWN} to its words"
            )
        return [self.ids[word] for word in words]

    def strings(self, ids: Iterable[int]) -> list[str]:
        """The words of ids up to the first EOS or PAD; a BOS before them is passed over.

        Raises:
            ValueError: for an id that is none of the vocabulary's.
        """
        found: list[str] = []
        for number in map(int, ids):
            if number in (self.eos, self.pad):
                break
            if number == self.bos:
                continue
            if not 0 <= number < len(self.words):
                raise ValueError(f"id {number} is not one of 0..{self.pad}")
            found.append(self.words[number])
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """A caption as text, its words joined by spaces; see `strings`."""
        return " ".join(self.strings(ids))
