"""Turns region features of any known format into limner's layout, image by image.

`limner.data.features.formats` has a module for each format: it streams the images of a file, and decodes one. Here they
are decoded by a few threads, checked, and written in order. Stopped, the same call goes on: what is written is passed
over without decoding, and the finished file is the same to the byte.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from limner.data.features.formats import Entry, Image, Source, find, named
from limner.data.features.legacy import as_image_id
from limner.data.features.writer import FeatureWriter
from limner.errors import UserError

Progress = Callable[[int, int, int], None]  # images so far; how much of the source is read, and how much there is
THREADS = 2
AHEAD = 4 * THREADS  # images decoded or waiting at a time
SKIP = "; --skip-bad leaves such images out"


class Converted(NamedTuple):
    """What `convert` did."""

    images: int  #: in the new file
    left_out: list[int]  #: ids of images without any feature but zeros: their extraction had failed
    repeated: list[str]  #: where an image stands a second time; the first is kept
    bad: list[str]  #: what is wrong with the images that were skipped, and where


class _Unwritable(UserError):
    """No image's fault."""


class _Task(NamedTuple):
    entry: Entry
    image_id: int
    image: Future[Image] | None  #: None when an earlier call has written it


def convert(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    form: str | None = None,
    extractor: str | None = None,
    drop: tuple[str, ...] = (),
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Rewrites region features in limner's layout: float16 rows, packed, sorted, hashed. Stopped, it goes on later.

    Args:
        path: a file or folder of a format in `FORMATS`.
        out: the new file. It must not exist.
        form: name of the format. Default: what a look at `path` says.
        extractor: name of what computed the features. Default: what the format says.
        drop: names of optional arrays to leave out (`class_probs` nearly doubles a file).
        skip_bad: leave out images that are damaged, instead of stopping at the first one.
        progress: called after each image.

    Raises:
        UserError: when no format is like the source, it cannot be read, an image is bad (not with `skip_bad`), or the
            new file cannot be written. What was written is kept for the next call.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise UserError(f"{out}: exists already: delete it or choose another name")
    found = named(form) if form else find(path)
    try:
        source = found.open(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as {found.name} ({error.strerror or error})") from error
    first = _first(path, source, drop, skip_bad)
    probs = first.optional.get("class_probs")
    provenance = {**source.provenance, "converted_from": found.name}
    if first.boxes is None:
        provenance["boxes"] = "none in the source, all zero"
    left_out: list[int] = []
    repeated: list[str] = []
    bad: list[str] = []

    def wrong(error: UserError) -> None:
        if not skip_bad:
            raise UserError(f"{error}{SKIP}") from error
        bad.append(str(error))

    with _writing(out):
        writer = FeatureWriter(
            out,
            dim=first.features.shape[1],
            extractor=extractor or source.extractor,
            provenance=provenance,
            classes=None if probs is None else probs.shape[1],
        )
    with writer:
        seen: set[int] = set()
        for task in _decoded(source, writer, drop, wrong):
            if progress is not None:
                progress(len(seen), task.entry.reached, source.total)
            if task.image is None:
                seen.add(task.image_id)
                continue
            try:
                image = task.image.result()
                if not image.features.view(np.uint16).any():
                    left_out.append(task.image_id)
                elif task.image_id not in seen:
                    with _writing(out):
                        _add(writer, task, image)
                    seen.add(task.image_id)
                elif writer.hash_of(task.image_id) == xxhash.xxh3_64_intdigest(image.features.data):
                    repeated.append(task.entry.where)
                else:
                    raise UserError(f"{task.entry.where}: image {task.image_id} stood before, with other features")
            except _Unwritable:
                raise
            except UserError as error:
                wrong(error)
        if not len(writer):
            raise UserError(f"{path}: none of its images can be used" + (f" ({bad[0]})" if bad else ""))
        with _writing(out):
            writer.close()
        return Converted(len(writer), left_out, repeated, bad)


def _first(path: Path, source: Source, drop: tuple[str, ...], skip_bad: bool) -> Image:
    """The first image that can be decoded: it tells the sizes of all."""
    problem = None
    with closing(source.entries()) as entries:
        for entry in entries:
            try:
                return _stored(source, entry, drop)
            except UserError as error:
                if not skip_bad:
                    raise UserError(f"{error}{SKIP}") from error
                problem = problem or error
    raise problem or UserError(f"{path}: has no images: check the path")


def _decoded(
    source: Source, writer: FeatureWriter, drop: tuple[str, ...], wrong: Callable[[UserError], None]
) -> Iterator[_Task]:
    """The images of a source in its order, a few of them decoded ahead."""
    before = writer.ids()
    waiting: deque[_Task] = deque()
    with ThreadPoolExecutor(THREADS) as pool, closing(source.entries()) as entries:
        for entry in entries:
            try:
                image_id = as_image_id(entry.name)
            except ValueError as error:
                wrong(UserError(f"{entry.where}: expected an image id, but {error}"))
                continue
            if image_id in before:
                before.remove(image_id)  # where it stands again, it is repeated
                waiting.append(_Task(entry._replace(data=None), image_id, None))
            else:
                waiting.append(_Task(entry._replace(data=None), image_id, pool.submit(_stored, source, entry, drop)))
            if len(waiting) >= AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


def _stored(source: Source, entry: Entry, drop: tuple[str, ...]) -> Image:
    """An image with its features in float16.

    By torch, whose conversion uses the processor's instruction: equal bits, 70 times faster than NumPy's.
    """
    import torch

    try:
        image = source.decode(entry)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:  # arrays of strange shapes
        raise UserError(f"{entry.where}: cannot be read ({type(error).__name__}: {error})") from error
    optional = {name: values for name, values in image.optional.items() if name not in drop}
    features = np.ascontiguousarray(image.features)
    if features.ndim != 2 or 0 in features.shape:
        raise UserError(f"{entry.where}: features have shape {features.shape}, expected (regions, numbers)")
    if features.dtype == np.float32:
        features = features if features.flags.writeable else features.copy()  # torch warns of others
        features = torch.from_numpy(features).half().numpy()
    return image._replace(features=features.astype(np.float16, copy=False), optional=optional)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise _Unwritable(f"{out}: cannot be written ({reason}): free space there; the same command goes on") from error


def _add(writer: FeatureWriter, task: _Task, image: Image) -> None:
    boxes = np.zeros((len(image.features), 4), np.float32) if image.boxes is None else image.boxes
    optional: dict[str, Any] = image.optional
    try:
        writer.add(task.image_id, image.features, boxes, image.size, **optional)
    except UserError as error:
        raise UserError(f"{task.entry.where}: {error}") from error
