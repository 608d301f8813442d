"""Many texts as two arrays: no Python object a text, so that a million of them take their bytes and nothing more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from limner.data.caption_split import spans


@dataclass(frozen=True, eq=False)
class TextPool:
    """N texts; text i is the UTF-8 text[offsets[i]:offsets[i+1]].

    text      (bytes,) uint8
    offsets   (N+1,) int64
    """

    text: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextPool:
        """The pool of some texts. Raises `TypeError` for one that is no string."""
        writer = TextWriter()
        for text in texts:
            writer.add(text)
        return writer.pool()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> str:
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._decode(self.offsets[place], self.offsets[place + 1])

    def __iter__(self) -> Iterator[str]:
        return (self._decode(start, end) for start, end in pairwise(self.offsets.tolist()))

    def take(self, index: np.ndarray | Sequence[int]) -> TextPool:
        """The texts at some places, in the order given."""
        places, offsets = spans(self.offsets, np.asarray(index, np.int64))
        return TextPool(self.text[places], offsets)

    def _decode(self, start: int, end: int) -> str:
        return self.text[start:end].tobytes().decode("utf-8", "surrogatepass")


class TextWriter:
    """Collects texts one by one."""

    def __init__(self) -> None:
        self._text, self._sizes = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, text: str) -> None:
        """One more text. Raises `TypeError` when it is no string."""
        if not isinstance(text, str):
            raise TypeError(f"found {type(text).__name__}, expected a text")
        written = text.encode("utf-8", "surrogatepass")
        self._text += written
        self._sizes.append(len(written))

    def cut(self, count: int) -> None:
        """Forgets all but the first texts."""
        del self._text[len(self._text) - sum(self._sizes[count:]) :], self._sizes[count:]

    def pool(self) -> TextPool:
        """All texts added."""
        offsets = np.zeros(len(self._sizes) + 1, np.int64)
        np.cumsum(np.frombuffer(self._sizes, np.int64), out=offsets[1:])
        return TextPool(np.frombuffer(bytes(self._text), np.uint8), offsets)


def join_pools(pools: Sequence[TextPool]) -> TextPool:
    """The texts of several pools, one pool after another."""
    text = np.concatenate([pool.text for pool in pools])
    lengths = np.concatenate([np.diff(pool.offsets) for pool in pools])
    return TextPool(text, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
