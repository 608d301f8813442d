"""Caption files of three kinds, told apart by what is in them, read in a stream into a few arrays.

Karpathy's splits   {"images": [{"split": "train", "cocoid" or "imgid": 42, "filename": "x_42.jpg",
                     "sentences": [{"tokens": ["a", "dog"], "raw": "A dog."}, ...]}, ...]}
COCO                {"images": [{"id": 42, "file_name": "x_42.jpg"}, ...],
                     "annotations": [{"image_id": 42, "caption": "A dog."}, ...]}
one's own           {"42": ["A dog.", ...], ...}

Images of a COCO file may have no captions (test splits); a COCO file without images takes those of its captions.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limner.data.cache import cached, content_key
from limner.data.caption_split import CaptionSplit, distinct_images, spans
from limner.data.reading import json_members
from limner.errors import Fault, UserError, field_found, listing, refuse, short

_CACHE = "captions-1"  # a new number whenever the arrays change
_KINDS = (
    'Karpathy\'s {"images": [{"split", "sentences"}]}, COCO\'s {"images", "annotations"}, or {image id: [captions]}'
)
_NEXT_STEP = "check the path; limner data get coco_karpathy (or coco_captions) fetches the published files"


class CaptionFile(NamedTuple):
    """A whole file. path: where it is. whole: all its images. part: (I,) int32, the split of each image as a place in
    `parts`. parts: the names of the splits; none in a file that names no splits."""

    path: str
    whole: CaptionSplit
    part: np.ndarray
    parts: list[str]

    def select(self, names: Sequence[str] | None) -> CaptionSplit:
        """The images of some splits; None: all.

        Raises:
            UserError: for a name that the file does not have, or when it names no splits.
        """
        if names is None:
            return self.whole
        if not self.parts:
            raise UserError(f"{self.path}: names no splits, so it has no {listing(names)}; it is used as a whole")
        unknown = [name for name in names if name not in self.parts]
        if unknown:
            have = f"it has {listing(self.parts)}: splits_in_file says which of them to use"
            raise UserError(f"{self.path}: no image is of the split {listing(unknown)}; {have}")
        wanted = np.isin(self.part, [self.parts.index(name) for name in names])
        return self.whole.take(np.flatnonzero(wanted))


def load_captions(
    path: str | Path,
    *,
    split: str | Sequence[str] | None = None,
    tokens: str = "file",
    image_ids: str = "id",
    cache: str | Path | None = None,
) -> CaptionSplit:
    """The captions of a file, plain or .gz; see `read_captions` for the arguments.

    split: name, or several, of the splits in a Karpathy file; None: all of the file.
    """
    file = read_captions(path, tokens=tokens, image_ids=image_ids, cache=cache)
    return file.select([split] if isinstance(split, str) else split)


def read_captions(
    path: str | Path,
    *,
    tokens: str = "file",
    image_ids: str = "id",
    cache: str | Path | None = None,
    fault: Fault = refuse,
) -> CaptionFile:
    """A whole caption file, plain or .gz.

    tokens: "file": a Karpathy file's own words, and those of the COCO tokeniser where there are none; "coco": the COCO
      tokeniser's for every file.
    image_ids: "id": the file's ids; in a Karpathy file `cocoid`, or `imgid` where there is none (Flickr). "filename":
      the digits at the end of the file's name, as `limner features extract` numbers pictures.
    cache: folder in which the arrays are kept, found again by the content of the file; None: no cache.
    fault: what is done with a fault of an image or a caption; without a cache, it may collect them.

    Raises `UserError` (one line: file, place, found, expected): missing or damaged file, invalid JSON, none of the
    three kinds, a field that is missing or of another type, an image id that stands twice, a caption of no image.
    """
    for name, value, known in (("tokens", tokens, ("file", "coco")), ("image_ids", image_ids, ("id", "filename"))):
        if value not in known:
            raise UserError(f"{name}: found {value!r}, expected one of {', '.join(known)}")

    def build() -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        file = _Reader(path, own_tokens=tokens == "file", by_name=image_ids == "filename", fault=fault).finish()
        split = file.whole
        arrays = {name: getattr(split, name) for name in ("image_id", "first", "tokens", "offsets", "text", "where")}
        return {**arrays, "part": file.part}, {"words": split.words, "parts": file.parts}

    key = ""
    if cache is not None:
        from limner.metrics import coco_tokens

        # the tokeniser decides the words as much as the file does
        key = f"{_CACHE}-{tokens}-{image_ids}-{content_key(path, coco_tokens.__file__)}"
    found, lists = cached(cache, key, build)
    arrays = dict(found)
    part = arrays.pop("part")
    return CaptionFile(str(path), CaptionSplit(words=lists["words"], **arrays), part, lists["parts"])


class _Reader:
    """Collects images and captions as they stream by."""

    def __init__(self, path: str | Path, *, own_tokens: bool, by_name: bool, fault: Fault) -> None:
        self.path, self.own_tokens, self.by_name, self.fault = path, own_tokens, by_name, fault
        self.images, self.numbers = array("q"), array("q")  # ids by which captions find them, ids they get
        self.parts, self.part = _numbering(), array("i")
        self.owners = array("q")  # image of each caption
        self.table, self.tokens, self.counts = _numbering(), array("i"), array("q")
        self.text, self.sizes = bytearray(), array("q")
        self._tokenize: Callable[[str], str] | None = None
        self.read()

    # --- what kind of file it is ---

    def read(self) -> None:
        """Reads the file; its keys tell the kind."""
        own: list[str] = []
        other: list[str] = []
        karpathy = annotated = False
        for name, value in json_members(self.path, expected=_KINDS, next_step=_NEXT_STEP):
            if name == "images" and isinstance(value, Iterator):
                karpathy = self.read_images(value)
            elif name == "annotations" and isinstance(value, Iterator):
                annotated = True
                self.read_annotations(value)
            elif (number := self.id_of(name)) is not None:
                own.append(name)
                self.whole_or_fault(self.own, number, value, f"{self.path}: image {name}")
                continue
            other.append(name)
        if karpathy and annotated:
            raise UserError(f"{self.path}: has both sentences and annotations, expected one of them")
        if own and other:
            raise UserError(f"{self.path}: {other[0]!r} beside {own[0]!r} is no image id; expected {_KINDS}")
        if not own and not {"images", "annotations"} & set(other):
            found = listing(map(repr, other)) or "nothing"
            raise UserError(f"{self.path}: found {found} at the top, expected {_KINDS}")
        if not self.images and not self.owners:
            raise UserError(f"{self.path}: holds no images")

    def whole_or_fault(self, read: Callable[..., None], *arguments: Any) -> None:
        """Reads a record; a fault in it is the record's own."""
        try:
            read(*arguments)
        except UserError as error:
            self.fault(error)

    def id_of(self, name: str) -> int | None:
        """The image id that a key of one's own file stands for."""
        if self.by_name:
            return _digits_of(name)
        return int(name) if re.fullmatch(r"-?[0-9]{1,18}", name) else None

    def read_images(self, records: Iterator[Any]) -> bool:
        """The key "images" of both published kinds; True when the captions are in it."""
        karpathy = False
        for index, record in enumerate(records):
            where = f"{self.path}: images[{index}]"
            if index == 0 and isinstance(record, dict):
                karpathy = "sentences" in record or "split" in record
            self.whole_or_fault(self.karpathy if karpathy else self.coco, record, where)
        return karpathy

    # --- images ---

    def coco(self, record: Any, where: str) -> None:
        """An image of a COCO file."""
        self.image(_whole(_object(record, where), "id", where), record, "file_name", where)

    def image(self, number: int, record: dict[str, Any], name: str, where: str) -> None:
        """An image; `name` is the field with the name of its file."""
        text = record.get(name)
        digits = number if not self.by_name else _digits_of(text) if isinstance(text, str) else None
        if digits is None:
            raise UserError(f"{where}: {field_found(record, name)}, expected the name of a file with digits at its end")
        self.images.append(number)
        self.numbers.append(digits)

    def karpathy(self, record: Any, where: str) -> None:
        """An image of a Karpathy file and its captions."""
        number = _whole(_object(record, where), "cocoid" if "cocoid" in record else "imgid", where)
        where = f"{where} (id {number})"
        split, sentences = record.get("split"), record.get("sentences")
        if not isinstance(split, str):
            raise UserError(f"{where}: {field_found(record, 'split')}, expected a name such as 'train'")
        if not isinstance(sentences, list):
            raise UserError(f"{where}: {field_found(record, 'sentences')}, expected a list")
        self.image(number, record, "filename", where)
        self.part.append(self.parts[split])
        for place, sentence in enumerate(sentences):
            try:
                words = sentence.get("tokens") if self.own_tokens else None
                raw = sentence["raw"] if "raw" in sentence or words is None else " ".join(words)
                self.caption(number, raw, words)
            except (KeyError, TypeError, AttributeError):
                expected = 'expected {"raw": "A dog.", "tokens": ["a", "dog"]}'
                self.fault(UserError(f"{where}: sentences[{place}]: found {short(sentence)}, {expected}"))

    def own(self, number: int, captions: Any, where: str) -> None:
        """An image of one's own file and its captions."""
        self.images.append(number)
        self.numbers.append(number)
        if not isinstance(captions, Iterator):
            raise UserError(f"{where}: found {short(captions)}, expected a list of captions")
        for place, caption in enumerate(captions):
            if isinstance(caption, str):
                self.caption(number, caption)
            else:
                self.fault(UserError(f"{where}: caption {place} is {short(caption)}, expected a text"))

    # --- captions ---

    def read_annotations(self, records: Iterator[Any]) -> None:
        """The key "annotations" of a COCO file."""
        for index, record in enumerate(records):
            self.whole_or_fault(self.annotation, record, f"{self.path}: annotations[{index}]")

    def annotation(self, record: Any, where: str) -> None:
        """A caption of a COCO file."""
        number = _whole(_object(record, where, " with image_id and caption"), "image_id", where)
        if not isinstance(record.get("caption"), str):
            raise UserError(f"{where} (image_id {number}): {field_found(record, 'caption')}, expected a text")
        self.caption(number, record["caption"])

    def caption(self, image: int, raw: str, words: list[str] | None = None) -> None:
        """A caption and its words (None: the COCO tokeniser's). `TypeError` when `words` are no words."""
        if words is None:
            words = self.tokenized(raw)
        elif not isinstance(words, list) or "" in words:
            raise TypeError
        "".join(words)  # the fastest way to see that all are texts
        written = raw.encode("utf-8", "surrogatepass")
        table = self.table
        self.tokens.extend([table[word] for word in words])
        self.counts.append(len(words))
        self.owners.append(image)
        self.text += written
        self.sizes.append(len(written))

    def tokenized(self, raw: str) -> list[str]:
        """The words of a caption by the COCO tokeniser."""
        if self._tokenize is None:
            from limner.metrics.coco_tokens import tokenize

            self._tokenize = tokenize
        said = self._tokenize(raw)
        return said.split(" ") if said else []  # at spaces only: a no-break space is part of its word

    # --- the end ---

    def finish(self) -> CaptionFile:
        """The arrays: images by ascending id, the captions of each together."""
        owners, sizes = np.array(self.owners, np.int64), np.array(self.sizes, np.int64)
        images, numbers = np.array(self.images, np.int64), np.array(self.numbers, np.int64)
        if not len(images):  # a COCO file with annotations alone
            if self.by_name:
                raise UserError(f"{self.path}: lists no images with their file_name, which image_ids=filename needs")
            images = numbers = np.unique(owners)
        order = np.argsort(numbers, kind="stable")
        distinct_images(numbers[order], self.path, fault=self.fault)
        owner = np.argsort(order)[self.places(images, owners)]  # each caption's image, as a place among ascending ids
        captions = np.argsort(owner, kind="stable")
        first = np.zeros(len(images) + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=len(images)), out=first[1:])
        tokens, offsets = spans(np.concatenate([[0], np.cumsum(np.array(self.counts, np.int64))]), captions)
        tokens = np.array(self.tokens, np.int32)[tokens]
        where = np.stack([np.cumsum(sizes) - sizes, np.cumsum(sizes)], axis=1)[captions]
        text = np.frombuffer(bytes(self.text), np.uint8)
        split = CaptionSplit(numbers[order], first, list(self.table), tokens, offsets, text, where)
        part = np.array(self.part, np.int32)[order] if self.part else np.zeros(len(images), np.int32)
        return CaptionFile(str(self.path), split, part, list(self.parts))

    def places(self, images: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """The place in `images` of each caption's image."""
        order = np.argsort(images, kind="stable")
        distinct_images(images[order], self.path, fault=self.fault)
        found = order[np.searchsorted(images, owners, sorter=order).clip(max=len(images) - 1)]
        lost = np.unique(owners[images[found] != owners])
        if len(lost):
            few = listing(lost[:5].tolist(), len(lost))
            self.fault(UserError(f"{self.path}: captions of images that its list 'images' has not: ids {few}"))
        return found


def _numbering() -> defaultdict[str, int]:
    """Gives each new text the next number."""
    table: defaultdict[str, int] = defaultdict()
    table.default_factory = table.__len__
    return table


def _digits_of(name: str) -> int | None:
    """The digits at the end of a file's name."""
    from limner.extract.run import image_id

    return image_id(Path(name))


def _object(record: Any, where: str, fields: str = "") -> dict[str, Any]:
    if not isinstance(record, dict):
        raise UserError(f"{where}: found {short(record)}, expected an object{fields}")
    return record


def _whole(record: dict[str, Any], name: str, where: str) -> int:
    value = record.get(name)
    if type(value) is not int or abs(value) >= 1 << 63:
        raise UserError(f"{where}: {field_found(record, name)}, expected a whole number")
    return value
