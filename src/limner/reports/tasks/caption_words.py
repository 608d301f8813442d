"""The words of captions: which a model uses, how often next to people, and how its captions end. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Use(NamedTuple):
    """How often a word is used: shares of captions that hold it, in percent."""

    word: str
    model: float
    people: float | None  #: None: nobody annotated


class Usage(NamedTuple):
    """What a set of captions is made of."""

    captions: int
    words: int  #: different words
    length: float  #: mean words in a caption
    distinct: int  #: different captions
    most: list[Use]  #: the words that most captions hold
    missing: list[Use]  #: words that no caption holds, the most frequent among people first
    repeated: list[tuple[str, int]]  #: captions given to more than one image
    last: list[tuple[str, int]]  #: last words
    bad: int  #: captions whose last word ends no caption


def usage(
    captions: Sequence[Sequence[str]], people: Iterable[Sequence[str]], *, bad: Iterable[str] = (), show: int = 20
) -> Usage:
    """Counts words.

    Args:
        captions: the model's, as words, at least one.
        people: all captions of people for the same images, as words.
        bad: words that end no caption.
        show: how many words and captions each list holds at most.
    """
    mine = Counter(word for words in captions for word in set(words))
    theirs: Counter[str] = Counter()
    told = 0
    for words in people:
        theirs.update(set(words))
        told += 1

    def use(word: str) -> Use:
        return Use(word, 100 * mine[word] / len(captions), 100 * theirs[word] / told if told else None)

    last = Counter(words[-1] for words in captions if words)
    whole = Counter(" ".join(words) for words in captions)
    unused = Counter({word: count for word, count in theirs.items() if word not in mine})
    return Usage(
        captions=len(captions),
        words=len(mine),
        length=sum(map(len, captions)) / len(captions),
        distinct=len(whole),
        most=[use(word) for word, _ in ordered(mine)[:show]],
        missing=[use(word) for word, _ in ordered(unused)[:show]],
        repeated=[(text, count) for text, count in ordered(whole)[:show] if count > 1],
        last=ordered(last)[:show],
        bad=sum(last[word] for word in set(bad)),
    )


def ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first, equal ones by the alphabet."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
