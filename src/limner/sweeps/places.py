"""Which cores or GPUs a job of a round has for itself."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from limner.errors import UserError


class Place(NamedTuple):
    """What a job may use."""

    cores: tuple[int, ...] = ()  #: empty: any
    environment: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default, never changed


def parts(things: Sequence, count: int) -> list[list]:
    """Things in `count` parts that differ by one at most."""
    return [list(things[k * len(things) // count : (k + 1) * len(things) // count]) for k in range(count)]


def cores() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; torch is not imported for it."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(k) for k, line in enumerate(line for line in told.splitlines() if line.startswith("GPU "))]


def places(pin: str, jobs: int) -> list[Place]:
    """The places of a round's jobs: disjoint parts of the machine.

    Raises:
        UserError: there are fewer cores or GPUs than jobs.
    """
    if pin == "none":
        return [Place()] * jobs
    found: list = cores() if pin == "cores" else gpus()
    if len(found) < jobs:
        raise UserError(f"sweep.pin={pin}: {jobs} jobs (sweep.jobs) cannot share {len(found)} {pin} of this machine")
    if pin == "gpus":
        return [Place(environment={"CUDA_VISIBLE_DEVICES": ",".join(part)}) for part in parts(found, jobs)]
    return [Place(tuple(part), {"OMP_NUM_THREADS": str(len(part))}) for part in parts(found, jobs)]


@contextmanager
def taken(folder: Path, pin: str, jobs: int) -> Iterator[Place]:
    """A place that no other job of the sweep on this machine has, until the block ends or the process dies.

    Args:
        folder: of the sweep; a locked file for each place stands in it.
    """
    free = places(pin, jobs)
    if pin == "none":
        yield free[0]
        return
    (folder / ".places").mkdir(exist_ok=True)
    while True:
        for number, place in enumerate(free):
            with open(folder / ".places" / f"{socket.gethostname()}-{number}", "w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield place
                return
        time.sleep(0.2)  # more jobs than places: a launcher starts more of them at a time than sweep.jobs
