"""Lines of tab-separated columns with arrays in base64: read, split and decoded with as few copies as Python allows."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.features.formats.format import Entry, Image, natural, pixels
from limner.data.reading import open_binary
from limner.errors import UserError

_fast: Callable[..., bytearray] | None = None
with suppress(ImportError):  # 45 times faster than the standard library, which decodes character by character
    from pybase64 import b64decode_as_bytearray

    _fast = b64decode_as_bytearray

LONGEST = 1 << 26  # bytes of a line; 100 regions of 2,048 numbers and their 1,601 classes take 2 MB
_AHEAD = 1 << 22  # bytes read at a time


def peek(path: Path) -> list[bytes]:
    """The columns of the first line, as far as 64 kB hold them; [] for what is no text file."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return []
    if b"\0" in head:
        return []
    return head.split(b"\n", 1)[0].rstrip(b"\r").split(b"\t")


def is_integer(text: bytes) -> bool:
    return text.strip().lstrip(b"-").isdigit()


def lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """`(number, line, bytes read so far)`; empty lines are passed over.

    Raises:
        UserError: the file cannot be opened, or a line is longer than any image is.
    """
    open_binary(path).close()  # says what is wrong with it
    reached, number = 0, 0
    with path.open("rb", buffering=_AHEAD) as file:
        while line := file.readline(LONGEST + 1):
            reached, number = reached + len(line), number + 1
            if len(line) > LONGEST:
                raise UserError(f"{path}, line {number:,}: is longer than {LONGEST:,} bytes: is it this format?")
            if len(line) > 2 or line.strip():
                yield number, line, reached


def entries(path: Path) -> Generator[Entry, None, None]:
    """The lines of a file as images, named by their first column."""
    for number, line, reached in lines(path):
        name = line[: max(line.find(b"\t"), 0)].decode("utf-8", "replace")
        yield Entry(f"{path}, line {number:,}", name, line, reached)


def fields(entry: Entry, names: tuple[str, ...], *, optional: int = 0) -> dict[str, memoryview]:
    """The columns of a line by name, without a copy. The last `optional` of them may be missing.

    Raises:
        UserError: there are fewer or more.
    """
    line, view, start, found = entry.data, memoryview(entry.data), 0, []
    while (stop := line.find(b"\t", start)) >= 0:
        found.append(view[start:stop])
        start = stop + 1
    found.append(view[start : len(line) - _end(line)])
    if not len(names) - optional <= len(found) <= len(names):
        expected = f"{len(names)} ({', '.join(names)})"
        raise UserError(f"{entry.where}: has {len(found)} columns, expected {expected}: was the file cut?")
    return dict(zip(names, found))


def image_of(
    found: Mapping[str, Any],
    where: str,
    *,
    width: str = "image_w",
    height: str = "image_h",
    optional: Callable[[int], dict[str, np.ndarray]] = lambda regions: {},
) -> Image:
    """An image from its columns in base64: num_boxes, boxes, features, its size and, where there is one, cls_prob.

    Args:
        found: text of the columns by name. width, height: names of the size. optional: arrays for so many regions.

    Raises:
        UserError: they do not belong together.
    """
    regions = natural(found["num_boxes"], where, "num_boxes")
    more = optional(regions)
    if "cls_prob" in found:
        more["class_probs"] = decode(where, "cls_prob", found["cls_prob"], regions)
    return Image(
        decode(where, "features", found["features"], regions),
        decode(where, "boxes", found["boxes"], regions, columns=4),
        pixels(found[width], found[height], where),
        more,
    )


def _end(line: bytes) -> int:
    """Length of a line's end; stripping it would copy the line."""
    return 2 if line.endswith(b"\r\n") else int(line.endswith(b"\n"))


def decode(
    where: str,
    what: str,
    text: memoryview | bytes | str,
    regions: int,
    *,
    columns: int | None = None,
    kind: str = "<f4",
) -> np.ndarray:
    """(regions, columns) numbers from base64.

    Args:
        where, what: for the error line. text: base64, or Python 2's way to write bytes, `b'...'`.
        columns: numbers of a region. Default: as many as there are.

    Raises:
        UserError: it is no base64, or not as many numbers as there are regions.
    """
    if isinstance(text, str):
        text = text.encode("ascii", "replace")
    if text[:2] == b"b'":
        text = text[2:-1]
    try:
        data = bytearray(binascii.a2b_base64(text)) if _fast is None else _fast(text, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise UserError(f"{where}: {what} is no base64 ({error}): was the file cut, or damaged?") from None
    item = np.dtype(kind).itemsize
    width = len(data) // (regions * item)
    if not width or len(data) != regions * width * item or columns not in (None, width):
        each = f"{columns or 'as many'} numbers"
        raise UserError(
            f"{where}: {what} has {len(data):,} bytes, expected {each} of {item} bytes for each of {regions} regions: "
            "was the file cut, or is num_boxes wrong?"
        )
    return np.frombuffer(data, kind).reshape(regions, width)
