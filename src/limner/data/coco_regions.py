"""Real captions without pixels: images of COCO as annotated boxes and their classes, with five captions each.

From one file to a data set that a captioner can train on:

    FILE  {"categories": [names], "images": [{"image_id", "width", "height", "boxes": [[x1, y1, x2, y2], ...],
          "labels": [places in categories], "captions": [...], "split": "train"}, ...]}, plain or gzipped

    DIR/captions.json   captions in the format of Karpathy's splits, as they were written
        regions.h5      regions of the extractor `annotations`, made from boxes and classes alone
        manifest.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import xxhash

from limner.data.made import MANIFEST, make
from limner.errors import UserError, listing
from limner.extract.annotated import AnnotationsExtractor
from limner.extract.boxes import boxes_of, load_json
from limner.extract.run import extract
from limner.files import write_json

KIND, VERSION = "limner COCO regions", 1


def build(file: str | os.PathLike[str], folder: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Makes the data set in `folder`; the one from the same file that is there already is left alone.

    Args:
        file: boxes, captions and splits of images.
        folder: need not exist.
        replace: make it anew when it was made from another file.

    Returns:
        The folder.

    Raises:
        UserError: `file` is no such file, or `folder` holds other things.
    """
    contents = load_json(file)
    made_with = {"kind": KIND, "version": VERSION, "from": xxhash.xxh3_64_hexdigest(Path(file).read_bytes())}

    def fill(part: Path) -> dict[str, Any]:
        names, pictures = boxes_of(contents, str(file))
        records = [_record(image, place, str(file)) for place, image in enumerate(contents["images"])]
        write_json(part / "captions.json", {"dataset": "coco", "images": records})
        extract(pictures, part / "regions.h5", AnnotationsExtractor(classes=len(names)))
        splits = Counter(record["split"] for record in records)
        said = Counter(dict.fromkeys(splits, 0))
        for record in records:
            said[record["split"]] += len(record["sentences"])
        return {"holds": {split: {"images": splits[split], "captions": said[split]} for split in splits}}

    return make(folder, fill, name="captions of COCO regions", made_with=made_with, replace=replace)


def _record(image: dict[str, Any], place: int, path: str) -> dict[str, Any]:
    """An image as in Karpathy's files; words are left to the COCO tokeniser."""
    where = f"{path}: images[{place}] (image_id {image['image_id']})"
    captions, split = image.get("captions"), image.get("split")
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
        raise UserError(f"{where}: captions is {_short(captions)}, expected a list of texts")
    if not isinstance(split, str):
        raise UserError(f"{where}: split is {_short(split)}, expected a name such as 'train'")
    return {
        "split": split,
        "cocoid": image["image_id"],
        "filename": f"{image['image_id']:012d}.jpg",
        "sentences": [{"raw": text} for text in captions],
    }


def _short(value: Any) -> str:
    return listing([value]) if value is not None else "missing"


def main(argv: list[str] | None = None) -> int:
    """`limner data coco-regions FILE DIR [--replace]`. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="limner data coco-regions", description="Captions and region features from annotated boxes with captions."
    )
    parser.add_argument("file", metavar="FILE", help="boxes, labels, captions and splits (JSON, also gzipped)")
    parser.add_argument("folder", metavar="DIR", help="where to; need not exist")
    parser.add_argument("--replace", action="store_true", help="replace a set made from another file")
    given = parser.parse_args(argv)
    folder = build(given.file, given.folder, replace=given.replace)
    holds = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["holds"]
    parts = ", ".join(
        f"{split} {held['images']:,} images, {held['captions']:,} captions" for split, held in holds.items()
    )
    print(f"{folder}: {parts}; regions.h5 too")
    return 0
