"""Region features of many pictures: finds them, runs an extractor on each, writes one HDF5 file.

Pictures are image files, or what an extractor with a method `pictures` reads from a file of its own kind.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.data.features import FeatureStore, FeatureWriter
from limner.errors import UserError, listing
from limner.extract import Classifies, Extractor, OwnPictures

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All pictures in a folder and its subfolders, by path. Raises `UserError` when there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"images={folder}: there is no such folder; give the folder that holds the pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"images={folder}: no picture in it or below it, expected files such as 000000000042.jpg")
    return found


def image_id(path: Path) -> int | None:
    """The digits at the end of the name: `COCO_val2014_000000000042.jpg` -> 42; None without any."""
    digits = re.search(r"(\d{1,18})$", path.stem)
    return int(digits[1]) if digits else None


def image_ids(paths: Iterable[Path]) -> dict[int, Path]:
    """Id -> picture. Raises `UserError` for names without an id, and for two pictures with the same one."""
    found: dict[int, Path] = {}
    without, twice = [], []
    for path in paths:
        number = image_id(path)
        if number is None:
            without.append(path)
        elif found.setdefault(number, path) is not path:
            twice.append(f"{number} ({found[number]}, {path})")
    if without:
        raise UserError(
            f"pictures without an id: {listing(without)}; expected a name that ends with its image id, such as "
            "000000000042.jpg: rename them, or leave them out"
        )
    if twice:
        raise UserError(f"two pictures have the same image id: {listing(twice)}; rename one of each, or leave it out")
    return found


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB; transparent parts become white. Raises OSError for a broken file."""
    with Image.open(path) as file:
        image: Image.Image = file
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def extract(
    images: str | os.PathLike[str] | Iterable[Path] | Mapping[int, Any],
    out: str | os.PathLike[str],
    extractor: Extractor,
    *,
    progress: bool = False,
) -> int:
    """Writes the region features of pictures to `out`; returns the number of images in it.

    A run that was stopped goes on where it was when it is started again, and a file that is complete already, from the
    same pictures and the same settings, is left alone.

    Args:
        images: a folder (with its subfolders), paths whose names end with the image id, or {image id: path}; for an
            extractor with a method `pictures`, what that takes, or {image id: picture}.
        out: the HDF5 file to make.
        extractor: gives the regions of one picture; if it is a dataclass, its settings are kept in `provenance`.
        progress: tells on stderr how far it is.

    Raises:
        UserError: no pictures, names without an id or with the same one, an `out` that holds something else; or some
            pictures that cannot be read, after all others were done: nothing is lost when it is run again.
    """
    pictures = _pictures(images, extractor)
    if Path(out).exists():
        _compare(Path(out), pictures, extractor)
        return len(pictures)
    broken = []
    with writer_for(out, extractor) as writer:
        todo = [number for number in sorted(pictures) if not writer.done(number)]
        for number in _told(todo, len(pictures), out) if progress else todo:
            image = pictures[number]
            if isinstance(image, Path):
                try:
                    image = read_image(image)
                except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's, for bad files
                    broken.append(image)
                    continue
            add(writer, extractor, number, image)
        if broken:
            raise UserError(
                f"{len(broken):,} of {len(pictures):,} pictures cannot be read: {listing(broken)}; the others are done "
                "and kept: mend or remove these and run the same command again"
            )
    return len(pictures)


def _pictures(images: Any, extractor: Extractor) -> Mapping[int, Any]:
    """Image id -> a path, or what the extractor itself reads."""
    if isinstance(images, Mapping):
        return dict(images)
    if isinstance(extractor, OwnPictures):
        return extractor.pictures(images)
    return image_ids(find_images(images) if isinstance(images, (str, os.PathLike)) else images)


def settings_of(extractor: Extractor) -> dict:
    """The settings of an extractor that is a dataclass; they are kept in the provenance."""
    return asdict(extractor) if is_dataclass(extractor) else {}


def writer_for(out: str | os.PathLike[str], extractor: Extractor) -> FeatureWriter:
    """A writer for an extractor's features; one that was stopped goes on."""
    return FeatureWriter(
        out,
        dim=extractor.dim,
        extractor=extractor.name,
        provenance={"settings": settings_of(extractor)},
        classes=extractor.region_classes if isinstance(extractor, Classifies) else None,
    )


def add(writer: FeatureWriter, extractor: Extractor, number: int, image: Any) -> None:
    """Writes the regions of one picture, (H, W, 3) uint8 or what the extractor takes, under an image id."""
    regions = extractor(image)
    size = (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size
    probs = {} if regions.class_probs is None else {"class_probs": regions.class_probs}
    writer.add(number, regions.features, regions.boxes, size, **probs)


def _compare(out: Path, paths: Mapping[int, Any], extractor: Extractor) -> None:
    """Leaves a finished file alone when it is the one asked for; otherwise says what differs."""
    store, settings = FeatureStore(out), settings_of(extractor)
    had, wanted = set(store.image_ids.tolist()), set(paths)
    found = store.provenance.get("settings", {})
    differs = None
    if (store.extractor, found) != (extractor.name, settings):
        differs = f"was made with {store.extractor} {found}, now asked for is {extractor.name} {settings}"
    elif had != wanted:
        differs = f"holds {len(had):,} images, now asked for are {len(wanted):,}, {len(had & wanted):,} of them in it"
    if differs:
        raise UserError(f"{out}: exists and {differs}; choose another name for out= or delete the file")


def _told(todo: list[int], total: int, out: str | os.PathLike[str]) -> Iterator[int]:
    """Yields the ids and tells on stderr how far it is: one line that is rewritten, or in a log one line a minute."""
    live = sys.stderr.isatty()
    start = told = time.monotonic()
    before = total - len(todo)
    if before:
        print(f"{out}: {before:,} of {total:,} images are done already", file=sys.stderr)
    for count, number in enumerate(todo):
        now = time.monotonic()
        if count and now - told > (0.2 if live else 60):
            told, rate = now, count / (now - start)
            left = (len(todo) - count) / rate
            text = f"{before + count:,} of {total:,} images, {rate:,.0f} a second, {left:,.0f} s left"
            print(f"\r{text}   " if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
        yield number
    if live and todo:
        print(f"\r{total:,} of {total:,} images{' ' * 40}", file=sys.stderr)
