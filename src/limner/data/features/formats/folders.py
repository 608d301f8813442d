"""Folders with one or two files an image.

| from | files |
|---|---|
| MMF, pythia | {id}.npy (K, D), {id}_info.npy (a pickled dict; see `mmf_rows`) |
| ImageCaptioning.pytorch | NAME_att/{id}.npz: `feat` or `z`; NAME_box/{id}.npy (K, 4); NAME_fc/{id}.npy: the mean |
| MILVLG bottom-up-attention | {id}.npz with x, bbox, num_bbox, image_h, image_w, info |

The mean over regions is not kept: models here make it themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint, natural, pixels, table
from limner.data.features.formats.mmf_rows import merged
from limner.data.pickles import read_npy, read_npz
from limner.errors import UserError

INFO = "_info.npy"


def _names(path: Path, ending: str) -> list[str]:
    """Stems of the files with an ending, sorted."""
    return sorted(name.removesuffix(ending) for name in os.listdir(path) if _ends(name, ending))


def _ends(name: str, ending: str) -> bool:
    return name.endswith(ending) and not name.endswith(INFO)


def _first(path: Path, ending: str) -> Path | None:
    if not path.is_dir():
        return None
    with os.scandir(path) as files:
        return next((Path(file.path) for file in files if _ends(file.name, ending)), None)


def _npz_holds(path: Path, *names: str) -> bool:
    """Has the first archive of a folder one of these arrays?"""
    first = _first(path, ".npz")
    if first is None:
        return False
    try:
        return any(name in read_npz(first) for name in names)
    except UserError:  # whoever opens it is told what
        return "feat" in names


def _open(path: Path, ending: str, decoder: Callable[[Entry], Image], extractor: str, told: dict[str, Any]) -> Source:
    names = _names(path, ending)

    def entries() -> Generator[Entry, None, None]:
        for number, name in enumerate(names, 1):
            file = path / (name + ending)
            yield Entry(str(file), name, file, number)

    return Source(entries, decoder, len(names), extractor, fingerprint(path) | told)


def _mmf(entry: Entry) -> Image:
    features = read_npy(_bytes(entry.data), entry.where)
    info_file = entry.data.with_name(f"{entry.name}{INFO}")
    info = read_npy(_bytes(info_file), info_file) if info_file.exists() else np.array({}, dtype=object)
    known = info.item() if info.dtype == object and info.ndim == 0 else None
    if not isinstance(known, dict):
        raise UserError(
            f"{info_file}: holds {info.dtype} {info.shape}, expected a dict of bbox, num_boxes, image_width"
        )
    return merged(features, known, entry.where)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _att(path: Path) -> Path:
    """The folder of features: what is given, or NAME_att for NAME."""
    beside = path.with_name(path.name + "_att")
    return beside if not path.exists() and beside.is_dir() else path


def _open_att(path: Path) -> Source:
    path = _att(path)
    box = path.with_name(path.name.removesuffix("_att") + "_box")

    def decode(entry: Entry) -> Image:
        arrays = read_npz(entry.data)
        found = next((arrays[name] for name in ("feat", "z") if name in arrays), None)
        if found is None:
            raise UserError(f"{entry.where}: has the arrays {', '.join(arrays) or 'none'}, expected feat or z")
        if found.ndim == 3:  # a grid (14, 14, D): each cell is a region
            found = found.reshape(-1, found.shape[-1])
        features = table(found, len(found), entry.where, "features")
        boxes = None
        if box.is_dir():
            file = box / f"{entry.name}.npy"
            boxes = table(read_npy(_bytes(file), file), len(features), str(file), "boxes", 4)
        return Image(features, boxes, (0, 0), {})

    return _open(path, ".npz", decode, "bottom-up attention", {"boxes": box.name if box.is_dir() else "none, all zero"})


def _milvlg(entry: Entry) -> Image:
    arrays = read_npz(entry.data)
    missing = [name for name in ("x", "bbox", "image_h", "image_w") if name not in arrays]
    if missing:
        raise UserError(f"{entry.where}: lacks {', '.join(missing)} (found {', '.join(arrays) or 'nothing'})")
    regions = natural(arrays.get("num_bbox", len(arrays["x"])), entry.where, "num_bbox")
    return Image(
        table(arrays["x"], regions, entry.where, "x"),
        table(arrays["bbox"], regions, entry.where, "bbox", 4),
        pixels(arrays["image_w"], arrays["image_h"], entry.where),
        {},
    )


MMF_FOLDER = Format(
    "mmf",
    "a folder of MMF",
    lambda path: _first(path, ".npy") is not None,
    lambda path: _open(path, ".npy", _mmf, "mmf", {}),
)
ATT_FOLDER = Format(
    "att-npz",
    "a folder of ImageCaptioning.pytorch",
    lambda path: _npz_holds(_att(path), "feat", "z"),
    _open_att,
)
MILVLG_FOLDER = Format(
    "milvlg-npz",
    "a folder of MILVLG's bottom-up-attention",
    lambda path: _npz_holds(path, "x"),
    lambda path: _open(path, ".npz", _milvlg, "bottom-up attention", {}),
)
