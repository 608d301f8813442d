"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from limner.errors import UserError

FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""what the operating system says of a disk that takes no more"""


def to_disk(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def disk_fault(error: BaseException | None) -> str | None:
    """The operating system's words when an error began with a disk that is full, read-only or broken; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FAULTS:
            return error.strerror
        for number in FAULTS:
            if f"(os error {number})" in str(error):  # so say libraries that are written in Rust
                return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def whole(path: Path, *, part: Path | None = None, sync: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place when the block ends well.

    Args:
        path: the file to make; its folder is made when missing.
        part: the temporary path. Default: one of this process alone.
        sync: the content is on the disk before it takes the name, so that a power cut leaves the old file or the new.

    What the block raises comes through, and the temporary file is gone.
    """
    part = part or path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if sync:
            to_disk(part)
        os.replace(part, path)
    finally:
        with suppress(OSError):  # whatever went wrong, no part is left; there may be no folder
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a small text file so that it is either the old one or the whole new one.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with whole(path, sync=True) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free space or choose another folder") from None


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def only_writer(lock: IO[Any] | int, path: Path) -> None:
    """Takes a lock on an open file or folder, until it is closed. However a process ends, the system frees its locks.

    Raises:
        UserError: another process has it; the line names `path`.
    """
    if sys.platform == "win32":  # has no flock; there two writers are the user's care
        return
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{path}: another process is writing it: wait for it, or choose another name") from error
