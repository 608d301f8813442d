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

from limner.data.features.formats.base64_rows import decode, entries, fields, is_integer, peek
from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint, natural, pixels

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
    found = fields(entry, ANDERSON, optional=1)
    regions = natural(found["num_boxes"], entry.where, "num_boxes")
    optional = {}
    if "cls_prob" in found:
        optional["class_probs"] = decode(entry.where, "cls_prob", found["cls_prob"], regions)
    return Image(
        decode(entry.where, "features", found["features"], regions),
        decode(entry.where, "boxes", found["boxes"], regions, columns=4),
        pixels(found["image_w"], found["image_h"], entry.where),
        optional,
    )


def _lxmert(entry: Entry) -> Image:
    found = fields(entry, LXMERT)
    regions = natural(found["num_boxes"], entry.where, "num_boxes")
    optional = {}
    for ours, theirs in (("cls", "objects"), ("attr", "attrs")):
        for name, column, kind in (("id", "id", "<i8"), ("prob", "conf", "<f4")):
            what = f"{theirs}_{column}"
            optional[f"{ours}_{name}"] = decode(entry.where, what, found[what], regions, columns=1, kind=kind)[:, 0]
    return Image(
        decode(entry.where, "features", found["features"], regions),
        decode(entry.where, "boxes", found["boxes"], regions, columns=4),
        pixels(found["img_w"], found["img_h"], entry.where),
        optional,
    )


def _open(path: Path, decoder: Callable[[Entry], Image]) -> Source:
    return Source(lambda: entries(path), decoder, path.stat().st_size, "bottom-up attention", fingerprint(path))


ANDERSON_TSV = Format("anderson-tsv", "a TSV of bottom-up-attention", _is_anderson, lambda path: _open(path, _anderson))
LXMERT_TSV = Format("lxmert-tsv", "a TSV of LXMERT", _is_lxmert, lambda path: _open(path, _lxmert))
