"""Writes a feature file image by image, and survives being killed.

Images are appended to plain files in `<path>.partial/` (see `part.py`). A new writer on the same path cuts off what a
killed one left half written and goes on. `close` makes the HDF5 file in one pass, sorted by image id, verifies every
image on the way and renames the file into place: at any moment there is either no file or a whole one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import xxhash

from limner.data.features.native import SCHEMA
from limner.data.features.part import RECORD, TYPES, finish, read_records, row_bytes, row_of, sealed, sync
from limner.data.features.store import not_finite, not_probabilities
from limner.errors import UserError, listing
from limner.files import only_writer


class FeatureWriter:
    """Streams region features to an HDF5 file.

    Use as a context manager: leaving the block normally finishes the file, leaving it by an error keeps the part for
    the next run. The same path with the same `dim`, `extractor` and `provenance` goes on where the last writer
    stopped; ask `done` before computing an image again.

    Args:
        path: the HDF5 file to make. It must not exist.
        dim: numbers in one region's feature.
        extractor: name of what computes the features.
        provenance: how they are computed (weights, selection, versions); plain JSON values.
        classes: numbers in one region's class probabilities, background (class 0) included; then every image comes
            with `class_probs`. None: there are none.

    Raises:
        UserError: when the file exists, another writer is at work, or the part there was made differently.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dim: int,
        extractor: str,
        provenance: dict[str, Any] | None = None,
        classes: int | None = None,
    ) -> None:
        self.path, self.dim, self.classes = Path(path), dim, classes
        self.partial = self.path.with_name(self.path.name + ".partial")
        if self.path.exists():
            raise UserError(f"{self.path}: exists already: delete it or choose another name")
        self.partial.mkdir(parents=True, exist_ok=True)
        meta = {"schema": SCHEMA, "dim": dim, "extractor": extractor, "provenance": provenance or {}}
        meta |= {} if classes is None else {"classes": classes}
        self._meta = json.loads(json.dumps(meta))  # as it will be read back
        self._files: dict[str, BinaryIO] = {}
        self._lock = (self.partial / "lock").open("wb")
        try:
            only_writer(self._lock, self.path)
            self._compare_meta()
            self._optional: tuple[str, ...] | None = self._read_optional()
            self._open_files()
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.release()
            if not self._done:  # nothing to go on from
                shutil.rmtree(self.partial, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._done)

    def done(self, image_id: int) -> bool:
        """True when the image is written, by this writer or an earlier one."""
        return int(image_id) in self._done

    def ids(self) -> set[int]:
        """The images that are written."""
        return set(self._done)

    def hash_of(self, image_id: int) -> int:
        """xxh3_64 of the features of an image that is written."""
        return self._done[int(image_id)]

    def add(
        self, image_id: int, features: np.ndarray, boxes: np.ndarray, size: tuple[int, int], **optional: np.ndarray
    ) -> None:
        """Writes one image.

        Args:
            image_id: not written yet.
            features: (k, dim) floats, k >= 1, stored as float16.
            boxes: (k, 4) xyxy pixels.
            size: width and height in pixels; (0, 0) when unknown.
            **optional: (k,) arrays `cls_id`, `cls_prob`, `attr_id`, `attr_prob`: the same ones for every image;
                `class_probs` (k, classes), what the detector said of each region, stored as float16.

        Raises:
            UserError: for an image added before, no regions, a wrong dimension, NaN or infinite values (also those
                that float16 cannot hold), class probabilities that do not add up to 1, or other optional arrays than
                before.
        """
        where = f"{self.path}: image {image_id}"
        if self.done(image_id):
            raise UserError(f"{where} is added twice, expected each image once: ask `done(image_id)` first")
        values = self._checked(where, np.asarray(features), np.asarray(boxes), optional)
        record = np.zeros(1, RECORD)
        record["image_id"], record["rows"], record["size"] = image_id, len(values["features"]), size
        record["hash"] = xxhash.xxh3_64_intdigest(values["features"].data)
        if self._optional is None:
            self._begin_optional(tuple(sorted(optional)))
        try:
            for name, value in [*values.items(), ("index", sealed(record))]:
                self._files[name].write(value.data.cast("B"))
                self._files[name].flush()
        except BaseException:  # a full disk, Ctrl-C: nothing of this image is there
            self._cut()
            raise
        self._rows += len(values["features"])
        self._done[int(image_id)] = int(record["hash"][0])

    def close(self) -> None:
        """Finishes the file: verifies, sorts, renames into place, removes the part. Does nothing the second time.

        Raises:
            UserError: when there are no images, or written features no longer match their hashes.
        """
        if self._lock.closed:
            return
        try:
            if not self._done:
                raise UserError(f"{self.path}: no image was added, there is nothing to write")
            target = self.partial / "finished.h5"
            finish(self.partial, target, self._optional or (), self._meta)
            os.replace(target, self.path)
            sync(self.path.parent)
        finally:
            self.release()
        shutil.rmtree(self.partial)

    def release(self) -> None:
        """Closes the files and keeps the part: a later writer on the same path goes on from here."""
        for file in (*self._files.values(), self._lock):
            file.close()

    def _checked(
        self, where: str, features: np.ndarray, boxes: np.ndarray, optional: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The arrays as they will be stored."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise UserError(f"{where}: features have shape {features.shape}, expected (regions, {self.dim})")
        regions = len(features)
        if regions == 0:
            raise UserError(f"{where} has no regions, expected 1 or more: lower the extractor's threshold")
        if boxes.shape != (regions, 4):
            raise UserError(f"{where}: boxes have shape {boxes.shape}, expected {(regions, 4)}")
        with np.errstate(over="ignore"):
            values = {"features": np.ascontiguousarray(features, "<f2"), "boxes": np.ascontiguousarray(boxes, "<f4")}
        if not_finite(values["features"]):
            found = "NaN" if np.isnan(features).any() else f"{np.abs(features).max():.3g}"
            raise UserError(f"{where}: features hold {found}, expected finite numbers up to 65504 (float16)")
        if not np.isfinite(values["boxes"]).all():
            raise UserError(f"{where}: boxes hold NaN or infinity, expected pixels")
        always: set[str] = set() if self.classes is None else {"class_probs"}
        expected = tuple(name for name in TYPES if name != "class_probs" or always)
        wrong = set(optional) - set(expected) | always - set(optional)
        if self._optional is not None:
            expected = self._optional
            wrong = set(optional) ^ set(expected)
        if wrong:
            found, known = listing(sorted(optional)) or "none", listing(expected) or "none"
            raise UserError(f"{where}: optional arrays are {found}, expected {known} (the same for every image)")
        for name, value in optional.items():
            kind, shape = row_of(name, self._meta)
            values[name] = np.ascontiguousarray(value, kind)
            if values[name].shape != (regions, *shape):
                raise UserError(f"{where}: {name} has shape {values[name].shape}, expected {(regions, *shape)}")
        if "class_probs" in values and not_probabilities(values["class_probs"]):
            raise UserError(f"{where}: class_probs are no probabilities: expected rows of 0 to 1 that add up to 1")
        return values

    def _compare_meta(self) -> None:
        path = self.partial / "writer.json"
        if not path.exists():
            _write_json(path, self._meta)
        begun = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key in {**self._meta, **begun} if begun.get(key) != self._meta.get(key)]
        if differ:
            key = differ[0]
            raise UserError(
                f"{self.partial}: was begun with {key}={begun.get(key)!r}, now {key}={self._meta.get(key)!r}: "
                "go on with the same settings, or delete this folder to begin again"
            )

    def _read_optional(self) -> tuple[str, ...] | None:
        path = self.partial / "optional.json"
        return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def _begin_optional(self, names: tuple[str, ...]) -> None:
        _write_json(self.partial / "optional.json", names)
        self._optional = names
        self._files |= {name: (self.partial / name).open("ab") for name in names}

    def _open_files(self) -> None:
        names = ("features", "boxes", *(self._optional or ()))
        records = read_records(self.partial, names, self._meta)
        self._done = dict(zip(records["image_id"].tolist(), records["hash"].tolist()))
        self._rows = int(records["rows"].sum())
        self._files |= {name: (self.partial / name).open("ab") for name in (*names, "index")}
        self._cut()

    def _cut(self) -> None:
        """Cuts every file back to the images that are whole."""
        for name, file in self._files.items():
            whole = len(self._done) * RECORD.itemsize if name == "index" else self._rows * row_bytes(name, self._meta)
            if file.closed:
                continue
            try:
                file.flush()
            except OSError:  # a full disk refuses what is still buffered; reopening forgets it
                file.raw.close()  # type: ignore[attr-defined]
                self._files[name] = (self.partial / name).open("ab")
            os.truncate(self.partial / name, whole)


def _write_json(path: Path, value: Any) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(value), encoding="utf-8")
    os.replace(beside, path)
