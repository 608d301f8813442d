"""What a format of region features is: how it is known, and how its images are read one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from limner.errors import UserError

_ENDS = 1 << 20  # bytes at both ends of a file that go into its fingerprint


class Image(NamedTuple):
    """One image on its way into a store."""

    features: np.ndarray  #: (k, D)
    boxes: np.ndarray | None  #: (k, 4) xyxy pixels; None when the source has none
    size: tuple[int, int]  #: width, height; (0, 0) when unknown
    optional: dict[str, np.ndarray]  #: see `FeatureWriter.add`


class Entry(NamedTuple):
    """One image as it lies in the source, not decoded yet."""

    where: str  #: for error lines: "trainval.tsv, line 7"
    name: Any  #: its id, as the source writes it: 9, "9", "COCO_train2014_000000000009"
    data: Any
    reached: int  #: how much of the source is read when this is: in the unit of `Source.total`


class Source(NamedTuple):
    """An open file or folder of images."""

    entries: Callable[[], Generator[Entry, None, None]]  #: from the first one, each time it is called
    decode: Callable[[Entry], Image]  #: may run in several threads; `UserError`, with `where`, for a bad image
    total: int  #: bytes, or images
    extractor: str = "unknown"
    provenance: dict[str, Any] = {}  # noqa: RUF012 (never changed)


class Format(NamedTuple):
    """A format that `limner features convert` understands."""

    name: str  #: for `--from`
    about: str  #: "it is ..."
    matches: Callable[[Path], bool]  #: by a look at the file or folder; never raises
    open: Callable[[Path], Source]


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, size and a hash of a source: of both ends of a file; of the names and sizes of a folder's files."""
    if path.is_dir():
        files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(path) if entry.is_file())
        names = xxhash.xxh3_128_hexdigest(repr(files).encode())
        return {"source": path.name, "source_files": len(files), "source_names_xxh3": names}
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = xxhash.xxh3_128(file.read(_ENDS))
        file.seek(max(0, size - _ENDS))
        digest.update(file.read())
    return {"source": path.name, "source_bytes": size, "source_ends_xxh3": digest.hexdigest()}


def table(values: Any, regions: int, where: str, what: str, columns: int | None = None) -> np.ndarray:
    """An array of numbers with one row for each region.

    Raises:
        UserError: it is something else; `where` and `what` name it.
    """
    found = np.asarray(values)
    if (
        found.dtype.kind not in "fiu"
        or found.ndim != 2
        or len(found) != regions
        or columns not in (None, found.shape[1])
    ):
        shape = (regions, columns or "D")
        raise UserError(f"{where}: {what} is {found.dtype} {found.shape}, expected numbers {shape}")
    return found


def pixels(width: Any, height: Any, where: str) -> tuple[int, int]:
    """Width and height of an image.

    Raises:
        UserError: one is no number above 0.
    """
    try:
        size = int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        size = (0, 0)
    if min(size) <= 0 or max(size) >= 1 << 31:
        raise UserError(
            f"{where}: the image is {_shown(width)} x {_shown(height)}, expected its width and height in pixels"
        )
    return size


def natural(value: Any, where: str, what: str) -> int:
    """A count, 1 or more.

    Raises:
        UserError: it is something else.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number < 1:
        raise UserError(f"{where}: {what} is {_shown(value)}, expected a number, 1 or more")
    return number


def _shown(value: Any) -> str:
    text = bytes(value).decode("latin1") if isinstance(value, (bytes, memoryview)) else str(value)
    return text if len(text) <= 20 else text[:20] + "..."
