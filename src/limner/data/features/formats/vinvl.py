"""VinVL's features.tsv: `id, num_boxes, base64`, or `id, {"num_boxes": ..., "features": base64}`.

A region has 2,048 numbers and six more for its box: x1, y1, x2, y2, width, height as fractions of the image. The size
of the image is told by some files of the JSON kind only; without it boxes stay fractions, and the image is 1 x 1.
`features.lineidx` beside the file has the byte where each line begins: a file that was cut is known at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.features.formats.base64_rows import decode, entries, fields, is_integer, peek
from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint, natural, pixels
from limner.errors import UserError

FEATURE = 2048  # numbers of a region before those of its box
BOX = 6


def _is_vinvl(path: Path) -> bool:
    found = peek(_file(path))
    return len(found) in (2, 3) and (found[1][:1] == b"{" or (is_integer(found[1]) and not is_integer(found[-1])))


def _file(path: Path) -> Path:
    return path / "features.tsv" if path.is_dir() else path


def _open(path: Path) -> Source:
    path = _file(path)
    size = path.stat().st_size
    if (index := path.with_suffix(".lineidx")).is_file():
        _compare(path, size, index)
    told = fingerprint(path) | {"boxes": "fractions of the image where the source does not tell its size"}
    return Source(lambda: entries(path), _image, size, "vinvl", told)


def _compare(path: Path, size: int, index: Path) -> None:
    """Does the index lie within the file, and each of the places looked at begin a line?"""
    try:
        starts = np.array(index.read_text().split(), np.int64)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{index}: expected the byte where each line begins, but {error}") from error
    if len(starts) and starts.max() >= size:
        late = int((starts >= size).sum())
        raise UserError(
            f"{path}: is cut short, {late:,} of the {len(starts):,} lines that {index.name} knows lie beyond its "
            f"{size:,} bytes: copy it again, or take {index.name} away to use what is there"
        )
    with path.open("rb") as file:
        for start in starts[np.linspace(0, len(starts) - 1, min(len(starts), 64)).astype(int)].tolist():
            file.seek(max(0, start - 1))
            if start and file.read(1) != b"\n":
                raise UserError(f"{path}: no line begins at byte {start:,}, as {index.name} says: are they of one set?")


def _image(entry: Entry) -> Image:
    columns = fields(entry, ("image_id", "num_boxes", "features"), optional=1)
    told: dict[str, Any] = columns
    if "features" not in columns:
        try:
            told = json.loads(bytes(columns["num_boxes"]))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{entry.where}: is no JSON ({error}): was the file cut?") from None
        if not isinstance(told, dict) or not isinstance(told.get("features"), str) or "num_boxes" not in told:
            raise UserError(f"{entry.where}: expected an object with num_boxes and features")
    regions = natural(told["num_boxes"], entry.where, "num_boxes")
    features = decode(entry.where, "features", told["features"], regions)
    if features.shape[1] != FEATURE + BOX:
        return Image(features, None, (0, 0), {})
    size = (1, 1)
    if "image_w" in told and "image_h" in told:
        size = pixels(told["image_w"], told["image_h"], entry.where)
    return Image(
        features[:, :FEATURE], features[:, FEATURE : FEATURE + 4] * np.array([*size, *size], np.float32), size, {}
    )


VINVL_TSV = Format("vinvl-tsv", "a TSV of VinVL or Oscar", _is_vinvl, _open)
