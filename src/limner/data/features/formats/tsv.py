"""Files with one image a line, its arrays in base64: Anderson's and LXMERT's.

| from | columns |
|---|---|
| bottom-up-attention | image_id, image_w, image_h, num_boxes, boxes, features, and sometimes cls_prob |
| LXMERT | img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features |

Height comes before width in the second; its ids are names ("COCO_train2014_000000132417"); object and attribute ids
are int64, everything else float32. No header; Python's csv ends lines with CR LF.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from limner.data.features.formats.base64_rows import decode, entries, fields, image_of, is_integer, peek
from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint

ANDERSON = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features", "cls_prob")
LXMERT = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)


def _is_anderson(path: Path) -> bool:
    found = peek(path)
    return len(found) >= 5 and all(map(is_integer, found[1:4])) and not is_integer(found[4])


def _is_lxmert(path: Path) -> bool:
    found = peek(path)
    return len(found) >= 5 and all(map(is_integer, found[1:3])) and not any(map(is_integer, found[3:5]))


def _anderson(entry: Entry) -> Image:
    return image_of(fields(entry, ANDERSON, optional=1), entry.where)


def _lxmert(entry: Entry) -> Image:
    found = fields(entry, LXMERT)

    def optional(regions: int) -> dict[str, np.ndarray]:
        columns = [(f"{theirs}_id", "<i8") for theirs in ("objects", "attrs")]
        columns += [(f"{theirs}_conf", "<f4") for theirs in ("objects", "attrs")]
        ours = ("cls_id", "attr_id", "cls_prob", "attr_prob")
        arrays = (decode(entry.where, what, found[what], regions, columns=1, kind=kind) for what, kind in columns)
        return {name: array[:, 0] for name, array in zip(ours, arrays)}

    return image_of(found, entry.where, width="img_w", height="img_h", optional=optional)


def _open(path: Path, decoder: Callable[[Entry], Image]) -> Source:
    return Source(lambda: entries(path), decoder, path.stat().st_size, "bottom-up attention", fingerprint(path))


ANDERSON_TSV = Format("anderson-tsv", "a TSV of bottom-up-attention", _is_anderson, lambda path: _open(path, _anderson))
LXMERT_TSV = Format("lxmert-tsv", "a TSV of LXMERT", _is_lxmert, lambda path: _open(path, _lxmert))
