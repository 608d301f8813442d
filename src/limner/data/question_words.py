"""The words of a data set's questions, counted and numbered once: a second start finds them in the cache.

At the size of VQA v2 with all its splits (1.1 million questions) this is most of what a start from the cache would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xxhash

from limner.data.cache import cached
from limner.data.text import Unknown, Vocabulary

_CACHE = "question-words-1"  # a new number whenever the tokenisation changes


def vocabulary(questions: Sequence[Sequence[str]], *, cache: str | Path | None) -> Vocabulary:
    """`Vocabulary.build` over the questions of several splits, kept in the folder `cache` (None: not kept)."""

    def build() -> tuple[dict[str, np.ndarray], list[str]]:
        return {}, list(Vocabulary.build(question for split in questions for question in split).words)

    key = "" if cache is None else f"{_CACHE}-{_hash(*questions)}"
    return Vocabulary(cached(cache, key, build)[1])


def encoded(
    questions: Sequence[str], words: Vocabulary, max_len: int, *, unknown: Unknown, cache: str | Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """`words.encode_all(questions, max_len, unknown=unknown)`, kept in the folder `cache` (None: not kept)."""

    def build() -> tuple[dict[str, np.ndarray], None]:
        flat, offsets = words.encode_all(questions, max_len, unknown=unknown)
        return {"flat": flat, "offsets": offsets}, None

    key = "" if cache is None else f"{_CACHE}-{max_len}-{unknown}-{_hash(questions, words.words)}"
    arrays, _ = cached(cache, key, build)
    return arrays["flat"], arrays["offsets"]


def _hash(*texts: Iterable[str]) -> str:
    """Of lists of texts; their lengths are hashed, too, so that no two lists that differ are written alike."""
    digest = xxhash.xxh3_128()
    for some in texts:
        some = list(some)
        digest.update(np.fromiter(map(len, some), np.int64, len(some)).data)
        digest.update("".join(some).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
