"""COCO results files: `[{"image_id": 42, "caption": "a dog"}, ...]`, one caption for every image of a split.

The evaluation server takes a zip archive of `captions_val2014_NAME_results.json` and
`captions_test2014_NAME_results.json`, where NAME is that of the method, without underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from limner.data.reading import json_records
from limner.submit import Kind, check_records, write_records

CAPTIONS = Kind("image_id", "caption", "image", "no caption of")
_NAME = re.compile(r"captions_\w+_[^_]+_results\.json")


def write_caption_submission(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a results file from rows with `image_id` and `caption`; returns how many captions.

    Nothing is written when a row is wrong: raises `UserError` for an id that is no whole number or stands twice, for a
    caption that is no text or empty, and for a file that cannot be written (a full disk).
    """
    return write_records(path, rows, CAPTIONS)


def check_caption_submission(path: str | Path, image_ids: Iterable[int], source: str = "the split") -> int:
    """Check a results file against the images of its split, which errors call `source`; returns how many captions.

    Raises `UserError` (one line) for the first kind of fault found: not a list of objects with image_id and caption, a
    caption that is empty or no text, double ids, unknown ids, missing ids.
    """
    return check_records(path, json_records(path, None), set(image_ids), source, CAPTIONS)


def check_caption_file(path: str | Path, references: str | Path, split: str | None = None) -> str:
    """Check a results file against a caption file of any kind that limner reads; what to tell the user.

    split: of a Karpathy file; None: all its images. Errors as `check_caption_submission`.
    """
    from limner.data.caption_files import read_captions

    images = read_captions(references).select(None if split is None else [split])
    count = check_caption_submission(path, images.image_id.tolist(), str(references))
    told = f"{path}: good: {count:,} captions"
    if _NAME.fullmatch(Path(path).name) is None:
        told += "; COCO's evaluation server wants the name captions_SPLIT_METHOD_results.json"
    return told
