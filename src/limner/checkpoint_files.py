"""Checkpoint files: whole or not there, checked when they are read, the one before kept; the disk is not waited for.

checkpoints/
  last.ckpt       the newest
  previous.ckpt   the one that was the newest before: where a resume goes on when last.ckpt is damaged
  best.ckpt       of the best epoch; until the next save another name of last.ckpt
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from limner.errors import UserError
from limner.files import disk_fault, to_disk

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
SAVING = ".saving.part"
"""one name for all processes and runs: what a killed one left is written over"""


class WholeFiles(CheckpointIO):
    """Writes checkpoints so that a file is either absent, the old one or whole: temporary file, fsync, rename.

    `save_checkpoint` returns when the operating system has the bytes (its page cache is the copy that training cannot
    change any more). A thread waits for the disk, reads the end back and gives the names; an error there is raised by
    the next `check`, `wait`, save or `teardown`.

    What is saved as `best.ckpt` is the newest, too: it becomes `last.ckpt` as well, written once.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.wait()  # a disk slower than the saves holds them up: one is in flight at most
        path = Path(path)
        part = path.with_name(SAVING)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(checkpoint, part)
        except BaseException as error:
            discard(part)
            raise explained(path, error) from None
        self._thread = threading.Thread(target=self._settle, args=(part, path), name="limner-checkpoint")
        self._thread.start()

    def _settle(self, part: Path, path: Path) -> None:
        try:
            to_disk(part)
            zipfile.ZipFile(part).close()  # its end: torch does not look whether the last bytes were taken
            if path.name in (BEST, LAST):
                last = path.with_name(LAST)
                if path.name == BEST:
                    give_name(part, path)  # before last.ckpt, which counts on it
                if last.exists():
                    give_name(last, path.with_name(PREVIOUS))
                path = last
            os.replace(part, path)
        except BaseException as error:
            discard(part)
            self._error = explained(path, error)

    def check(self) -> None:
        """Raises what went wrong with a checkpoint since the last look; waits for nothing."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Waits until what was saved is on the disk under its names.

        Raises:
            UserError: it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)

    def teardown(self) -> None:
        """Lightning calls it when a training ends, however it ends."""
        self.wait()


def discard(part: Path) -> None:
    """Removes a file that could not be written, and frees its room at once: torch's writer may hold it open still."""
    with suppress(OSError):
        os.truncate(part, 0)
        part.unlink()


def give_name(file: Path, name: Path) -> None:
    """Makes `name` another name of a file, in one step; a copy where the file system knows no hard links."""
    part = name.with_name(f".{name.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(file, part)
    except OSError:
        shutil.copyfile(file, part)
        to_disk(part)
    os.replace(part, name)
    part.unlink(missing_ok=True)  # a rename between two names of one file leaves both


def explained(path: Path, error: BaseException) -> BaseException:
    """The line for a checkpoint that could not be written; any other error as it is."""
    reason = write_failure(error)
    if reason is None:
        return error
    before = "the one before is whole" if path.exists() else "nothing was written"
    advice = f"free space, then: limner train resume={path.parent.parent}"
    return UserError(f"{path}: the checkpoint could not be written ({reason}); {before}; {advice}")


def write_failure(error: BaseException | None) -> str | None:
    """The operating system's reason when `error` began with a failed write; torch's writer tells none."""
    if reason := disk_fault(error):
        return reason
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if isinstance(error, zipfile.BadZipFile):
            return "its end is missing; the disk may be full"
        if isinstance(error, RuntimeError) and (
            "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
        ):
            return "the disk may be full"
        error = error.__cause__ or error.__context__
    return None


def read_checkpoint(path: Path, *, next_step: str = "") -> dict[str, Any]:
    """The content of a checkpoint, plain types and tensors on the CPU only: nothing in it is run.

    Args:
        path: the file.
        next_step: ends the line when it cannot be read.

    Checksums are compared first: torch writes them into its files and does not look at them again.

    Raises:
        UserError: there is no such file, or it is damaged or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}){next_step}") from None
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        told = f"{path}: cannot be read as a checkpoint ({first}); it is damaged or not limner's"
        raise UserError(told + next_step) from None


def read_newest(last: Path, *, repair: bool) -> dict[str, Any]:
    """The content of last.ckpt; where it is damaged, that of the one before, and a warning.

    Args:
        last: a run's `last.ckpt`.
        repair: the one before takes the name of the damaged one. One process of a run does it.

    Raises:
        UserError: neither can be read.
    """
    try:
        return read_checkpoint(last)
    except UserError as error:
        previous, damage = last.with_name(PREVIOUS), str(error)
    if not previous.is_file():
        raise UserError(f"{damage}; there is no {PREVIOUS} beside it: start the run again, see its command.txt")
    try:
        found = read_checkpoint(previous)
    except UserError as error:
        raise UserError(f"{damage}; {error}: start the run again, see its command.txt") from None
    if repair:
        step = found.get("global_step", "?")
        print(f"warning: {damage}; going on from the one before, of step {step}", file=sys.stderr, flush=True)
        give_name(previous, last)
    return found
