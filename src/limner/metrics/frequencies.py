"""In how many images an n-gram occurs: the document frequencies of CIDEr, built once and recognised later."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from limner.data.cache import cached
from limner.errors import UserError
from limner.files import whole
from limner.metrics.ngrams import Lookup, base_for, ngrams
from limner.metrics.sequences import ImageCaptions, flat

_FORMAT = "limner document frequencies 2"


class DocumentFrequencies:
    """The table of an n-gram's document frequency, from which CIDEr takes idf = log(images) - log(max(1, df)).

    keys (K,) uint64 and counts (K,): different n-grams (see `limner.metrics.ngrams`) and in how many images they occur.
    images: I. n: longest n-gram. base: of the keys. vocabulary, captions: fingerprints of what it was built from.
    words: the word of each id, for metrics over text; () when only ids are known.

    Memory: 36 bytes an n-gram; the 4 million of COCO's training captions take 140 MB.
    """

    def __init__(
        self,
        *,
        keys: np.ndarray,
        counts: np.ndarray,
        images: int,
        n: int = 4,
        base: int,
        vocabulary: str = "",
        captions: str = "",
        words: Sequence[str] = (),
    ) -> None:
        if images < 1:
            raise UserError("document frequencies: no images, expected at least one with captions")
        self.images, self.n, self.base = images, n, base
        self.vocabulary, self.captions, self.words = vocabulary, captions, tuple(words)
        order = np.argsort(keys)
        self.keys, self.counts = keys[order], counts[order]
        self._lookup = Lookup(self.keys)
        self._unknown = np.log(float(images))
        self._idf = np.append(self._unknown - np.log(np.maximum(1.0, self.counts)), self._unknown)

    @classmethod
    def build(cls, captions: ImageCaptions, *, words: Sequence[str] = (), n: int = 4) -> DocumentFrequencies:
        """Count in how many images each n-gram occurs, in all captions of an image together.

        captions: of a corpus, with or without the end token: scored captions must be alike. words: of the vocabulary;
        their fingerprint is kept.
        """
        base = base_for(max(captions.size, len(words)))
        sequences, captions_of = captions.select(np.arange(len(captions)))
        image_of = np.repeat(np.arange(len(captions)), captions_of)
        keys, counts = [], []
        for key, row in ngrams(sequences, n, base):  # one length at a time: a quarter of the memory
            unique, inverse = np.unique(key, return_inverse=True)
            pairs = np.sort(inverse * np.int64(len(captions)) + image_of[row])
            once = pairs[np.diff(pairs, prepend=-1) > 0]  # np.unique would hash, which is slower here
            keys.append(unique)
            counts.append(np.bincount(once // max(len(captions), 1), minlength=len(unique)))
        return cls(
            keys=np.concatenate(keys),
            counts=np.concatenate(counts).astype(np.int32),
            images=len(captions),
            n=n,
            base=base,
            vocabulary=vocabulary_fingerprint(words),
            captions=captions_fingerprint(captions),
            words=words,
        )

    @classmethod
    def prepared(
        cls,
        captions: ImageCaptions,
        *,
        words: Sequence[str] = (),
        n: int = 4,
        folder: str | Path | None = None,
    ) -> DocumentFrequencies:
        """As `build`, kept in a folder under a name made of the fingerprints (None: built every time)."""

        def build() -> tuple[dict[str, np.ndarray], Any]:
            return cls.build(captions, words=words, n=n)._entry()

        key = f"df2-{n}-{captions.size}-{vocabulary_fingerprint(words)}-{captions_fingerprint(captions)}"
        return cls._from(*cached(folder, key, build))

    def idf(self, keys: np.ndarray) -> np.ndarray:
        """log(images) - log(max(1, df)) of some n-grams (K,) uint64: float64 (K,)."""
        place, known = self._lookup.find(keys)
        return np.where(known, self._idf[place], self._unknown)

    def count(self, *ids: int) -> int:
        """In how many images the n-gram of these ids occurs."""
        *_, (key, _) = ngrams(flat([ids]), len(ids), self.base)
        place, known = self._lookup.find(key)
        return int(self.counts[place[0]]) if known[0] else 0

    def save(self, path: str | Path) -> None:
        """Write one `.npz` without pickle, whole or not at all. Raises `UserError` when it cannot be written."""
        arrays, meta = self._entry()
        text = np.frombuffer(json.dumps(meta, ensure_ascii=False).encode(), np.uint8)
        try:
            with whole(Path(path)) as part, open(part, "wb") as file:
                np.savez(file, meta=text, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path}: cannot be written ({reason}); free space or choose another folder") from None

    @classmethod
    def load(
        cls, path: str | Path, *, words: Sequence[str] | None = None, captions: ImageCaptions | None = None
    ) -> DocumentFrequencies:
        """Read what `save` wrote.

        words: refuse a file built with another vocabulary (ids would mean other words, and rewards be near zero with
        no error). captions: refuse a file built from other captions. Raises `UserError` for both, and for other files.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            meta = json.loads(arrays.pop("meta").tobytes())
            if meta["format"] != _FORMAT:
                raise KeyError("format")
            found = cls._from(arrays, meta)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; document frequencies are built when none are given") from None
        except (OSError, zipfile.BadZipFile, ValueError, LookupError, EOFError, TypeError):
            raise UserError(f"{path}: no file of document frequencies (format {_FORMAT!r}); build it again") from None
        if words is not None and found.vocabulary != (wanted := vocabulary_fingerprint(words)):
            raise UserError(
                f"{path}: built with the vocabulary {found.vocabulary[:12]}, the model has {wanted[:12]}; "
                "build the document frequencies with the model's vocabulary"
            )
        if captions is not None and found.captions != (wanted := captions_fingerprint(captions)):
            raise UserError(
                f"{path}: built from captions {found.captions[:12]}, found {wanted[:12]}; build it from these captions"
            )
        return found

    @property
    def fingerprint(self) -> str:
        """Of everything it was built from: the same for the same vocabulary, captions and n."""
        return xxhash.xxh3_128_hexdigest(f"{self.n} {self.vocabulary} {self.captions}".encode())

    def _entry(self) -> tuple[dict[str, np.ndarray], Any]:
        meta = {"format": _FORMAT, "words": self.words}
        meta |= {name: getattr(self, name) for name in ("images", "n", "base", "vocabulary", "captions")}
        return {"keys": self.keys, "counts": self.counts}, meta

    @classmethod
    def _from(cls, arrays: Mapping[str, np.ndarray], meta: Any) -> DocumentFrequencies:
        values = {name: value for name, value in meta.items() if name != "format"}
        return cls(keys=arrays["keys"], counts=arrays["counts"], **values)


def vocabulary_fingerprint(words: Sequence[str]) -> str:
    """A hash (xxh3, 128 bits, hexadecimal) of words in their order."""
    return xxhash.xxh3_128_hexdigest("\n".join(words).encode())


def captions_fingerprint(captions: ImageCaptions) -> str:
    """A hash of all captions in their order, with their grouping by image."""
    digest = xxhash.xxh3_128()
    for array in (captions.counts, captions.lengths, captions.tokens):
        digest.update(np.array(len(array)).tobytes())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
