"""Runs a reader over many inputs in forked processes: a crash, a hang or a hunger for memory ends only a process."""

from __future__ import annotations

import faulthandler
import mmap
import os
import random
import resource
import signal
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

from limner.errors import UserError

SECONDS = 10  # for one input
MEMORY = 3 << 30  # bytes of address space that reading may take on top of what the process has
HANGS, CRASHES = "hangs", "ends the process with SIGSEGV"
BATCH = 500  # inputs a process


def run(
    name: str,
    count: int,
    seed: int,
    write: Callable[[random.Random], None],
    read: Callable[[], object],
    *,
    lost: float = 0.0,
) -> str:
    """Reads `count` inputs.

    Args:
        name: of the reader. seed: input k is written with a generator seeded by (name, seed, k).
        write: writes an input. read: reads it; may raise `UserError` with one line.
        lost: share of inputs that may hang or crash; for a library that is known to.

    Returns:
        How many were read and how many were refused.

    Raises:
        AssertionError: an input that did anything else; it says how to make it again.
    """
    progress = mmap.mmap(-1, 24)  # the input in work, how many were read, how many refused
    first = ended = 0
    while first < count:
        last = min(first + BATCH, count)
        child = os.fork()
        if not child:
            _child(name, range(first, last), seed, write, read, progress)
        _, status = os.waitpid(child, 0)
        first = last
        if status:
            first = 1 + struct.unpack_from("q", progress)[0]
            ended += 1
            told = _told(status, Path(f"{os.getpid()}.fault"))
            native = told in (HANGS, CRASHES)
            if not native or ended > max(lost * count, 1.0 if lost else 0.0):
                raise AssertionError(f"{name}: input {first - 1} of seed {seed}: {told}")
    _, good, refused = struct.unpack("3q", progress)
    assert good + refused + ended == count
    more = f", {ended} lost in a library" if ended else ""
    return f"{name}: {count:,} inputs, {good:,} read, {refused:,} refused{more}"


def _told(status: int, report: Path) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return HANGS if number == signal.SIGALRM else f"ends the process with {signal.Signals(number).name}"
    text = report.read_text() if report.exists() else "the process ended"
    report.unlink(missing_ok=True)
    return text


def _child(
    name: str,
    numbers: range,
    seed: int,
    write: Callable[[random.Random], None],
    read: Callable[[], object],
    progress: mmap.mmap,
) -> None:
    """Never comes back: exits with 0 when every input was read or refused."""
    code = 1
    try:
        faulthandler.disable()  # the parent tells of a crash
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a loop in C would not let a handler of Python's run
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain there
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
        _, good, refused = struct.unpack("3q", progress)
        for number in numbers:
            struct.pack_into("q", progress, 0, number)
            write(random.Random(f"{name} {seed} {number}"))
            signal.alarm(SECONDS)
            try:
                read()
                good += 1
            except UserError as error:
                if not str(error) or "\n" in str(error):
                    raise RuntimeError(f"an error of several lines, or of none: {error}") from None
                refused += 1
            signal.alarm(0)
            struct.pack_into("2q", progress, 8, good, refused)
        code = 0
    except BaseException:
        Path(f"{os.getppid()}.fault").write_text(traceback.format_exc())
    finally:
        os._exit(code)
