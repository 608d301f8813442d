"""Region features read from one HDF5 file, at the speed of a memory copy.

Rows of all images lie one after another in one contiguous dataset; the file is checked by h5py once, then mapped, and
an image is a slice of the map. Rows are copied by `np.positive` on an integer view and not by memcpy: same bits, but
the loop of vector stores ran at the full memory rate where the C library's string copy of a 150 kB block ran at a third
of it (AMD EPYC, glibc 2.36). See scripts/benchmarks/loader.py.
"""

from __future__ import annotations

import mmap
import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from limner.data.features.layout import Layout, SlowRows, open_hdf5, reading, warn_slow
from limner.data.features.legacy import open_legacy
from limner.data.features.native import open_native
from limner.errors import UserError, listing


class Regions(NamedTuple):
    """Regions of I images, padded to R each. Padding is zero."""

    feats: np.ndarray  #: (I, R, D) float16, or float32 from a file that stores float32
    boxes: np.ndarray  #: (I, R, 4) float32 xyxy pixels; zeros when the file has no boxes
    mask: np.ndarray  #: (I, R) bool, True for a real region


class FeatureStore:
    """Features and boxes of the regions of many images, by image id.

    A store opens its file at the first use in each process, so it can be sent to spawned workers and used after a fork.
    It reads limner's own layout and the older `(N, K, D)` ones (see `limner.data.features.legacy`).

    Args:
        path: the HDF5 file.
        max_regions: keep at most the first K regions of each image, and always pad to K. Default: all of them, padded
            to the largest count among the images read together.

    Raises:
        UserError: when the file does not exist (at once), or cannot be used (at the first use).
    """

    def __init__(self, path: str | os.PathLike[str], *, max_regions: int | None = None) -> None:
        if max_regions is not None and max_regions < 1:
            raise UserError(f"{path}: max_regions is {max_regions}, expected 1 or more")
        self.path = Path(path)
        self.fixed_regions = max_regions
        self._waited = -1  # major page faults of this process when `will_need` last looked
        if not self.path.is_file():
            open_hdf5(self.path)  # says what is there instead

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "fixed_regions": self.fixed_regions, "_waited": -1}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, max_regions={self.fixed_regions})"

    @cached_property
    def layout(self) -> Layout:
        """The open file."""
        with open_hdf5(self.path) as file, reading(self.path):
            layout = open_native(self.path, file) if "offsets" in file else open_legacy(self.path, file)
        if isinstance(layout.features, SlowRows):
            warn_slow(self.path, layout.features.name)
        return layout

    @property
    def image_ids(self) -> np.ndarray:
        """(N,) int64, ascending."""
        return self.layout.image_ids

    @property
    def dim(self) -> int:
        """Numbers in one region's feature."""
        return int(self.layout.features.shape[1])

    @property
    def dtype(self) -> np.dtype:
        """float16 or float32, as stored."""
        return self.layout.features.dtype

    @property
    def extractor(self) -> str:
        """Name of what computed the features."""
        return self.layout.extractor

    @property
    def provenance(self) -> dict[str, Any]:
        """How they were computed: weights, selection, versions."""
        return self.layout.provenance

    @cached_property
    def max_regions(self) -> int:
        """The largest number of regions that `read` returns for one image."""
        return self.fixed_regions or int(self.layout.counts.max())

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that change when an image's id or features change.

        From the ids and the row hashes; a layout without hashes takes the bytes of 64 images spread over the file.
        """
        layout = self.layout
        digest = xxhash.xxh3_128()
        for part in (np.array([self.dim]), layout.image_ids, layout.counts):
            digest.update(np.ascontiguousarray(part, "<i8").data)
        if layout.hashes is not None:
            digest.update(np.ascontiguousarray(layout.hashes, "<u8").data)
        else:
            for position in np.linspace(0, len(self) - 1, 64).astype(int):
                digest.update(self._bytes(position))
        return digest.hexdigest()

    def positions(self, image_ids: np.ndarray) -> np.ndarray:
        """Where images are in the store.

        Args:
            image_ids: (n,) integers, in any order, repeated or not.

        Returns:
            (n,) int64.

        Raises:
            UserError: listing the first few ids that the store lacks, and how many there are.
        """
        wanted = np.asarray(image_ids, np.int64)
        found = np.searchsorted(self.image_ids, wanted)
        missing = self.image_ids[np.minimum(found, len(self) - 1)] != wanted
        if missing.any():
            ids = np.unique(wanted[missing])
            raise UserError(
                f"{self.path}: no features for {len(ids):,} of {len(np.unique(wanted)):,} images "
                f"(ids {listing(ids[:5].tolist(), len(ids))}); the file has {len(self):,} images: extract them too, "
                "or give the feature file of this split"
            )
        return found

    def size(self, position: int) -> tuple[int, int]:
        """Width and height of an image in pixels; (0, 0) when the file does not know."""
        sizes = self.layout.sizes
        return (0, 0) if sizes is None else (int(sizes[position, 0]), int(sizes[position, 1]))

    def sizes(self, positions: np.ndarray) -> np.ndarray:
        """(n, 2) float32, `size` of several images."""
        sizes = self.layout.sizes
        return np.zeros((len(positions), 2), np.float32) if sizes is None else sizes[positions].astype(np.float32)

    @property
    def classes(self) -> int:
        """Numbers in one region's class probabilities, background included; 0 when the file keeps none."""
        probs = self.layout.optional.get("class_probs")
        return 0 if probs is None else int(probs.shape[1])

    def class_probs(self, positions: np.ndarray, regions: np.ndarray) -> np.ndarray:
        """What the detector said of some regions: (n, classes) float16.

        Args:
            positions: (n,) from `positions`. regions: (n,) which region of each image, from 0.

        Raises:
            UserError: the file keeps no class probabilities.
        """
        probs = self.layout.optional.get("class_probs")
        if probs is None:
            raise UserError(f"{self.path}: keeps no class_probs of its regions: extract them again, with their classes")
        rows = self.layout.starts[positions] + regions
        if isinstance(probs, SlowRows):
            out = np.empty((len(rows), self.classes), probs.dtype)
            for target, row in zip(out, rows.tolist()):
                target[:] = probs[row : row + 1][0]
            return out
        return probs[rows]

    def counts(self, positions: np.ndarray) -> np.ndarray:
        """(n,) regions that `read` returns for each image, before padding."""
        counts = self.layout.counts[positions]
        return counts if self.fixed_regions is None else np.minimum(counts, self.fixed_regions)

    def row_hash(self, position: int) -> int:
        """xxh3_64 of an image's features as stored, computed now and without a copy."""
        return xxhash.xxh3_64_intdigest(self._bytes(position))

    def read(self, positions: np.ndarray, out: Regions | np.ndarray | None = None) -> Regions:
        """Features, boxes and mask of images.

        Args:
            positions: (I,) from `positions`; ascending ones read fastest from a cold disk.
            out: memory to fill instead of new arrays: a `Regions` of C-contiguous arrays of exactly these shapes, or
                only the features. R must be at least the largest of `counts(positions)`.

        Returns:
            `Regions`, R the largest count among them, or `max_regions` when that is fixed.
        """
        layout, positions = self.layout, np.asarray(positions, np.int64)
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self)):
            raise IndexError(f"{self.path}: positions must lie in 0..{len(self) - 1}")
        starts, counts = layout.starts[positions], self.counts(positions)
        if isinstance(out, Regions):
            feats, boxes, mask = out
        else:
            regions = out.shape[1] if out is not None else self.fixed_regions or int(counts.max(initial=0))
            feats = np.empty((len(positions), regions, self.dim), self.dtype) if out is None else out
            boxes = np.empty((len(positions), regions, 4), np.float32)
            mask = np.empty((len(positions), regions), bool)
        regions = feats.shape[1]
        if (
            feats.shape != (len(positions), regions, self.dim)
            or feats.dtype != self.dtype
            or regions < counts.max(initial=0)
        ):
            raise ValueError(
                f"out is {feats.dtype} {feats.shape}, expected {self.dtype} {len(positions), 'R', self.dim}"
            )
        np.less(np.arange(regions), counts[:, None], out=mask)
        _copy_rows(layout.features, starts, counts, feats)
        if layout.boxes is None:
            boxes[:] = 0
        else:
            _copy_rows(layout.boxes, starts, counts, boxes)
        return Regions(feats, boxes, mask)

    def will_need(self, positions: np.ndarray) -> None:
        """Tells the system to read these images' features from the disk now, in the background.

        Call it one batch ahead: with a cold cache this made mapped reads 13 times faster. In a warm one the asking
        itself would cost a sixth of the reading, so an image is asked for once, and again only after a read has had to
        wait for the disk (a major page fault: memory was too small to keep everything). Does nothing when the file is
        not mapped or the system has no such call.
        """
        layout = self.layout
        if layout.mapping is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        import resource

        waited = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        if waited != self._waited:
            self._asked, self._waited = np.zeros(len(self), bool), waited
        positions = np.asarray(positions, np.int64)
        positions = positions[~self._asked[positions]]
        self._asked[positions] = True
        row = self.dim * self.dtype.itemsize
        first = layout.offset + layout.starts[positions] * row
        last = first + self.counts(positions) * row
        page = mmap.PAGESIZE
        for start, stop in zip((first // page * page).tolist(), last.tolist()):
            layout.mapping.madvise(mmap.MADV_WILLNEED, start, stop - start)

    def _bytes(self, position: int) -> memoryview:
        start, count = int(self.layout.starts[position]), int(self.layout.counts[position])
        return np.ascontiguousarray(self.layout.features[start : start + count]).data


def _copy_rows(source: np.ndarray | SlowRows, starts: np.ndarray, counts: np.ndarray, out: np.ndarray) -> None:
    """out[i, :counts[i]] = source[starts[i] : starts[i] + counts[i]], and zeros after."""
    regions = out.shape[1]
    plain = False
    if (
        isinstance(source, np.ndarray) and source.dtype == out.dtype
    ):  # as integers: the bits of every value are kept, and the copy is one vector loop (see above)
        bits = np.dtype(f"u{out.dtype.itemsize}")
        source, out, plain = source.view(bits), out.view(bits), True
    for target, start, count in zip(out, starts.tolist(), counts.tolist()):
        if plain:
            np.positive(source[start : start + count], out=target[:count])
        else:
            target[:count] = source[start : start + count]
        if count < regions:
            target[count:] = 0


def not_finite(features: np.ndarray) -> bool:
    """By the exponent bits: many times faster than isfinite on float16."""
    if features.dtype == np.float16:
        return bool(((features.view(np.uint16) & 0x7C00) == 0x7C00).any())
    return not np.isfinite(features).all()


def not_probabilities(values: np.ndarray) -> bool:
    """Is a row of (k, C) not of numbers from 0 to 1 that add up to 1? In float16, 1,601 of them do so within 0.01."""
    sums = values.sum(1, dtype=np.float32)
    return not (bool((values >= 0).all()) and bool((np.abs(sums - 1) < 0.01).all()))
