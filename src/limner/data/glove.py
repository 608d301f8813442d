"""Word vectors from a GloVe text file, for the words of a vocabulary only.

The 1 GB of `glove.6B.300d.txt` is read line by line; only the lines of wanted words are turned into numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limner.data.reading import open_binary
from limner.errors import UserError

_NEXT_STEP = "fetch it with: limner data get glove"


class Glove(NamedTuple):
    """What `read_glove` found. `vectors (V, dim) float32`: zeros for a word that the file lacks. `found (V,) bool`."""

    vectors: np.ndarray
    found: np.ndarray

    def summary(self) -> str:
        """One line for people: how many of the words have a vector."""
        return f"{int(self.found.sum()):,} of {len(self.found):,} words have a vector; the others start at zero"


def read_glove(path: str | Path, words: Sequence[str], *, dim: int = 300) -> Glove:
    """Vectors of `words`, in their order, from a GloVe file: `word number number ...` with single spaces, plain or .gz.

    Numbers are read in float64 and rounded once to float32. When a word stands twice, the last one counts (as
    published). Every line's number of columns is checked.

    Raises `UserError`: missing or damaged file; a line (named by its number) that has not `dim` numbers, or no numbers.
    """
    places = {word.encode(): place for place, word in enumerate(words)}
    vectors = np.zeros((len(words), dim), np.float32)
    found = np.zeros(len(words), bool)
    number = 0
    for number, line in enumerate(_lines(path), start=1):
        columns = line.count(b" ")
        if columns != dim:
            if number > 1 and columns > dim and not _is_number(line.split(b" ", 2)[1]):
                continue  # glove.840B has a few "words" with spaces in them; no question word has
            hint = "; use the file of this size or set the size" if number == 1 else "; was the download cut?"
            raise UserError(f"{path}: line {number:,} has {columns:,} numbers, expected {dim:,}{hint}")
        word, _, numbers = line.partition(b" ")
        place = places.get(word)
        if place is not None:
            try:
                vectors[place] = np.array(numbers.split(b" "), np.float64)
            except ValueError as error:
                raise UserError(f"{path}: line {number:,}, word {word.decode()!r}: not a number ({error})") from None
            found[place] = True
    if not number:
        raise UserError(f"{path}: is empty; {_NEXT_STEP}")
    return Glove(vectors, found)


def _lines(path: str | Path) -> Iterator[bytes]:
    """Lines without their ends; only newline ends a line (some GloVe words are other line separators)."""
    with open_binary(path, next_step=_NEXT_STEP) as stream:
        try:
            for line in stream:
                yield line.rstrip(b"\r\n ")
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"{path}: damaged or cut gzip file ({error}); {_NEXT_STEP}") from None


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
