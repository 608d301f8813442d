"""The unfinished part of a feature file: plain append-only files in a folder, and how they become the HDF5 file.

`features` (rows of D float16), `boxes` (rows of 4 float32) and the optional arrays (`class_probs`: rows of C float16,
the others one number a region) grow first; the image counts once
its record stands whole in `index`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from limner.data.features.layout import fixed_text
from limner.data.features.native import SCHEMA
from limner.errors import UserError, listing

RECORD = np.dtype([("image_id", "<i8"), ("rows", "<i8"), ("size", "<i4", 2), ("hash", "<u8"), ("check", "<u8")])
TYPES = {"cls_id": "<i4", "cls_prob": "<f2", "attr_id": "<i4", "attr_prob": "<f2", "class_probs": "<f2"}
BLOCK = 64 << 20  # bytes of features handled at once


def row_of(name: str, meta: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    """Type and shape of what one region has in the file `name`."""
    rows = {"features": ("<f2", (meta["dim"],)), "boxes": ("<f4", (4,))}
    if name == "class_probs":
        return TYPES[name], (meta["classes"],)
    return rows.get(name) or (TYPES[name], ())


def row_bytes(name: str, meta: dict[str, Any]) -> int:
    """Bytes of one region in the file `name`."""
    return np.dtype(row_of(name, meta)).itemsize


def sealed(record: np.ndarray) -> np.ndarray:
    """(1,) RECORD with its own checksum, so that a half-written one is known."""
    record["check"] = xxhash.xxh3_64_intdigest(record.tobytes()[:-8])
    return record


def read_records(folder: Path, names: Iterable[str], meta: dict[str, Any]) -> np.ndarray:
    """The images of a part that are whole: (n,) RECORD in the order of writing.

    Stops at the first record that is broken or whose rows are not all there (a killed writer, a full disk).
    """
    path = folder / "index"
    data = path.read_bytes() if path.exists() else b""
    records = np.frombuffer(data, RECORD, len(data) // RECORD.itemsize)
    whole = len(records)
    for number in range(whole - 1, -1, -1):  # appended in order: only the tail can be broken
        if sealed(records[number : number + 1].copy())["check"][0] == records["check"][number]:
            break
        whole = number
    records = records[:whole]
    rows = np.cumsum(records["rows"])
    for name in names:
        file = folder / name
        size = file.stat().st_size if file.exists() else 0
        records = records[: np.searchsorted(rows, size // row_bytes(name, meta), side="right")]
    return records


def finish(folder: Path, target: Path, names: tuple[str, ...], meta: dict[str, Any]) -> None:
    """Makes the HDF5 file from a part: images sorted by id, every image verified, `complete` written last, synced.

    Raises:
        UserError: when features no longer match the hash taken when they were written.
    """
    records = read_records(folder, ("features", "boxes", *names), meta)
    first = np.cumsum(records["rows"]) - records["rows"]
    order = np.argsort(records["image_id"], kind="stable")
    records, first = records[order], first[order]
    offsets = np.concatenate([[0], np.cumsum(records["rows"])])
    rows = int(offsets[-1])
    names = ("features", "boxes", *names)
    with (
        h5py.File(target, "w", alignment_threshold=4096, alignment_interval=4096) as file,
        ExitStack() as stack,
    ):
        parts = {name: stack.enter_context((folder / name).open("rb", buffering=0)) for name in names}
        for name in names:
            kind, shape = row_of(name, meta)
            file.create_dataset(name, (rows, *shape), kind)
        bad: list[int] = []
        per_block = max(1, BLOCK // (2 * max(meta["dim"], meta.get("classes", 0))))
        start = 0
        while start < len(records):
            stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + per_block, side="right")) - 1)
            for name, part in parts.items():
                kind, shape = row_of(name, meta)
                block = np.empty((offsets[stop] - offsets[start], *shape), kind)
                for i in range(start, stop):
                    piece = block[offsets[i] - offsets[start] : offsets[i + 1] - offsets[start]]
                    part.seek(int(first[i]) * row_bytes(name, meta))
                    read = part.readinto(piece.data.cast("B"))
                    whole = name != "features" or xxhash.xxh3_64_intdigest(piece.data) == records["hash"][i]
                    if read != piece.nbytes or not whole:
                        bad.append(int(records["image_id"][i]))
                file[name][offsets[start] : offsets[stop]] = block
            start = stop
        if bad:
            raise UserError(
                f"{folder}: {len(bad):,} images changed after they were written (ids {listing(bad)}): "
                "a disk or memory fault; delete this folder and extract again"
            )
        file["offsets"] = offsets.astype("<i8")
        file["image_id"] = records["image_id"].astype("<i8")
        file["size"] = records["size"].astype("<i4")
        file["row_hash"] = records["hash"].astype("<u8")
        file.attrs["schema"] = SCHEMA
        file.attrs["extractor"] = fixed_text(meta["extractor"])
        file.attrs["provenance"] = fixed_text(json.dumps(meta["provenance"], sort_keys=True))
        file.flush()
        file.attrs["complete"] = True
    sync(target)


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
