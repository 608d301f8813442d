"""What a feature file looks like once it is open: where each image's rows are, whatever the layout on disk.

`open_hdf5` opens with h5py first, because HDF5 notices what a bare memory map cannot (a file cut short, a header that
was never flushed), and says what is wrong in one line. `rows_of` then maps a contiguous dataset straight from the file,
so that no HDF5 handle stays open: a map survives fork, and reading it costs what a memory copy costs.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from limner.errors import UserError

MAKE = "make it with `limner features extract` (scripts/extract_features.py)"
CONVERT = "`limner features convert {path} --out NEW.h5` rewrites it for fast reading"


class Layout(NamedTuple):
    """An open feature file. `rows` counts regions of all images one after another; images are sorted by id."""

    kind: str  #: "limner", or a name for an older layout
    image_ids: np.ndarray  #: (N,) int64, strictly ascending
    starts: np.ndarray  #: (N,) int64, first row of each image
    counts: np.ndarray  #: (N,) int64, rows of each image
    features: Rows  #: (rows, D) float16 or float32
    boxes: Rows | None  #: (rows, 4) xyxy pixels; None when the file has no boxes
    sizes: np.ndarray | None  #: (N, 2) int, width and height of each image; None when unknown
    hashes: np.ndarray | None  #: (N,) uint64, xxh3_64 of each image's feature bytes
    extractor: str
    provenance: dict[str, Any]
    optional: dict[str, Rows]  #: further values of each row, by name; `class_probs` has (rows, C), others (rows,)
    mapping: mmap.mmap | None  #: the mapped file, for madvise; None when `features` are read through h5py
    offset: int  #: of the first feature in the file, bytes


class SlowRows:
    """Rows of a dataset that cannot be mapped (chunked, compressed, another byte order): read through h5py.

    Slices only. The handle is opened again in a process that inherited it by fork, since HDF5's state is not shared.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.dtype = path, name, dtype
        self.block = shape[1] if len(shape) == 3 else 0  # rows of one image in a (N, K, D) dataset
        self.shape = (shape[0] * shape[1], shape[2]) if self.block else shape
        self._pid = -1

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self._pid != os.getpid():
            self._dataset, self._pid = h5py.File(self.path, "r")[self.name], os.getpid()
        start, stop, _ = rows.indices(len(self))
        first, last = (start // self.block, -(-stop // self.block)) if self.block else (start, stop)
        with reading(self.path):
            values = self._dataset[first:last]
        if not self.block:
            return values.astype(self.dtype, copy=False)
        values = values.reshape(-1, *self.shape[1:])
        return values[start - first * self.block : stop - first * self.block].astype(self.dtype, copy=False)


Rows = np.ndarray | SlowRows
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""what HDF5's library raises when it meets a header, an address or a length that makes no sense"""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of HDF5's library about a damaged file, which are of every kind, as one line."""
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is damaged ({reason}): copy it again, or {MAKE}") from error


def open_hdf5(path: Path) -> h5py.File:
    """Opens a feature file for reading.

    Raises:
        UserError: when there is no such file, it is empty, cut short, not HDF5, or was left by a killed writer.
    """
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        if partial.is_dir():
            raise UserError(f"{path}: not finished, a part lies in {partial.name}: run the same extraction to go on")
        raise UserError(f"{path}: no such feature file: {MAKE}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected one HDF5 file of region features")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: is empty (0 bytes), expected an HDF5 file of region features: {MAKE}")
    try:
        return h5py.File(path, "r")
    except PermissionError as error:
        raise UserError(f"{path}: may not be read ({error.strerror or 'permission denied'})") from error
    except OSError as error:
        reason = str(error)
        if "truncated" in reason:
            line = f"{path}: is cut short ({size:,} bytes found, its header promises more): copy it again, or {MAKE}"
        elif "signature" in reason:
            line = f"{path}: is not an HDF5 file; `limner features convert` reads other formats, or {MAKE}"
        else:
            line = f"{path}: cannot be read as HDF5, its writer was probably killed ({reason}): {MAKE}"
        raise UserError(line) from error


def fixed_text(text: str) -> np.bytes_ | str:
    """A text for an attribute, of fixed length where HDF5 has room for it: its library never comes back from some
    damages of the heap that holds texts of free length."""
    written = np.bytes_(text.encode())
    return written if 0 < len(written) < 60_000 else text


def text_of(file: h5py.File, name: str, default: str) -> str:
    """A text attribute of either kind."""
    found = file.attrs.get(name, default)
    return found.decode() if isinstance(found, bytes) else str(found)


def map_file(path: Path) -> mmap.mmap:
    """The whole file as read-only memory."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def rows_of(dataset: h5py.Dataset, path: Path, mapping: mmap.mmap, *, kinds: str = "f") -> tuple[Rows, int]:
    """The rows of a (rows, ...) or (N, K, ...) dataset, and where they start in the file (bytes, 0 when not mapped).

    Contiguous data in the machine's byte order become an array on the map, without a copy; anything else `SlowRows`.

    Args:
        kinds: numpy kinds of number allowed, "f" for floats.

    Raises:
        UserError: for another kind of number, another rank, data never written, or a file shorter than its data.
    """
    name, shape, dtype = dataset.name, dataset.shape, dataset.dtype
    if dtype.kind not in kinds or len(shape) not in (1, 2, 3) or (dtype.kind == "f" and dtype.itemsize > 8):
        raise UserError(f"{path}: {name} is {dtype} {shape}, expected rows of numbers")
    flat = (shape[0] * shape[1], shape[2]) if len(shape) == 3 else shape
    offset = dataset.id.get_offset()
    if offset is None and dataset.chunks is None and dataset.size and dataset.id.get_storage_size() == 0:
        raise UserError(f"{path}: {name} was never written, the file is not complete: {MAKE}")
    if dataset.size == 0:
        return np.empty(flat, dtype.newbyteorder("=")), 0
    narrow = dtype.kind != "f" or dtype.itemsize in (2, 4)
    if offset is None or dataset.external or not dtype.isnative or not narrow or offset % dtype.itemsize:
        target = dtype.newbyteorder("=") if narrow else np.dtype(np.float32)
        return SlowRows(path, name, shape, target), 0
    if offset + dataset.size * dtype.itemsize > len(mapping):
        raise UserError(f"{path}: is cut short, {name} ends beyond the file: copy it again")
    return np.frombuffer(mapping, dtype, dataset.size, offset).reshape(flat), offset


def warn_slow(path: Path, name: str) -> None:
    """Says once for each file that it is read slowly, and what to do."""
    advice = CONVERT.format(path=path)
    warnings.warn(f"{path}: {name} is chunked or not plain, reading is many times slower; {advice}", stacklevel=2)
