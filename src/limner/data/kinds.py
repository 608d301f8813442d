"""What a JSON file of a data folder is, and of which split: found by looking, so that names are free.

Only keys are looked for, in the bytes: this is fast (no JSON is parsed) and works for a file that is cut or mistyped,
whose reader then says where.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from limner.data.reading import open_binary
from limner.errors import UserError

KEYS = ("questions", "annotations", "answers", "dialogs", "dialog", "gt_relevance", "relevance", "sentences", "caption",
        "boxes")  # fmt: skip
_KEY = {name: re.compile(rb'"%s"\s*:' % name.encode()) for name in KEYS}
_OWN = re.compile(rb'\s*\{\s*"-?\d{1,18}"\s*:')
_SPLIT = re.compile(r"test-?dev|train|val|dev|test")
_CHUNK = 1 << 22


def kinds_of(path: Path) -> set[str]:
    """What is in a file: some of `questions`, `annotations`; or one of `captions`, `dialogs`, `dense`; or nothing.

    Raises:
        UserError: it cannot be opened or unpacked.
    """
    keys, start = _keys(path)
    if keys & {"dialogs", "dialog"}:
        return {"dialogs"}
    if keys & {"gt_relevance", "relevance"}:
        return {"dense"}
    if "boxes" in keys:  # instances of COCO, scenes
        return set()
    if "sentences" in keys or ("caption" in keys and "answers" not in keys) or _OWN.match(start):
        return {"captions"}
    return keys & {"questions", "annotations"}


def split_of(path: Path) -> str:
    """The split that a file's name tells: `train`, `val`, `test`, `testdev`; the name itself when it tells none."""
    stem = path.name.removesuffix(".gz").removesuffix(".json")
    found = _SPLIT.search(stem.lower())
    return {"dev": "val", "test-dev": "testdev"}.get(found[0], found[0]) if found else stem


def _keys(path: Path) -> tuple[set[str], bytes]:
    """Which of `KEYS` a file has, and how it starts."""
    found: set[str] = set()
    start = kept = b""
    try:
        with open_binary(path) as stream:
            while chunk := stream.read(_CHUNK):
                start = start or chunk[:100].removeprefix(b"\xef\xbb\xbf")
                text = kept + chunk
                found |= {name for name, key in _KEY.items() if name not in found and key.search(text)}
                kept = chunk[-40:]
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut gzip file ({error}); get it again") from None
    return found, start
