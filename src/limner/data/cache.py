"""A small cache for what takes seconds to parse: arrays and JSON in one file, keyed by the content of the sources.

One `.npz` an entry, without pickle, written to a temporary name and renamed, so that several processes may build the
same entry at once and a killed one leaves nothing that looks whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from limner.data.reading import open_binary
from limner.files import whole

Entry = tuple[Mapping[str, np.ndarray], Any]
_JSON = "json"
_log = logging.getLogger(__name__)


def content_key(*paths: str | Path | None) -> str:
    """A hash (xxh3, 128 bits, hexadecimal) of the bytes of some files; None stands for "no such file".

    Raises `UserError` for a file that is missing or cannot be opened.
    """
    digest = xxhash.xxh3_128()
    for path in paths:
        digest.update(b"\0none" if path is None else b"\0file")
        if path is not None:
            open_binary(path).close()  # one wording for what is wrong with a path
            with open(path, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


def cached(folder: str | Path | None, key: str, build: Callable[[], Entry]) -> Entry:
    """`build()`, or what it gave the last time under the same key: `(arrays, meta)`.

    folder: where the entries lie, made when missing; None: no cache. key: part of a file name, e.g. a name, the version
    of the format and `content_key(...)`. build: gives arrays by name and anything JSON can hold.

    An entry that cannot be read is built again; a folder that cannot be written costs a warning, not the run.
    """
    if folder is None:
        return build()
    path = Path(folder) / f"{key}.npz"
    with contextlib.suppress(FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop(_JSON).tobytes())
    built, meta = build()
    try:
        _write(path, built, meta)
    except OSError as error:
        _log.warning("%s: not cached: %s", path, error.strerror or error)
    return built, meta


def _write(path: Path, arrays: Mapping[str, np.ndarray], meta: Any) -> None:
    with whole(path) as part, open(part, "wb") as stream:
        text = json.dumps(meta, ensure_ascii=False).encode()
        np.savez(stream, **{_JSON: np.frombuffer(text, np.uint8)}, **arrays)  # type: ignore[arg-type]
