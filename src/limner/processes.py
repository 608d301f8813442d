"""The processes of a run: which one is the first, and how they end together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Did torchrun, or something that sets what it sets, start this process?"""
    return {"RANK", "WORLD_SIZE"} <= environment.keys()


def by_srun(environment: Mapping[str, str] = os.environ) -> bool:
    """Did srun start this process as one of several? A single one may start others itself."""
    return int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environment


def number(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those of a run, 0 for the first, from what launchers put in the environment.

    torchrun sets RANK; srun sets SLURM_PROCID; Lightning sets LOCAL_RANK for the processes it starts itself, and its
    users NODE_RANK on several machines (a process of a later machine is never the first).
    """
    if by_torchrun(environment):
        return int(environment["RANK"])
    if by_srun(environment):
        return int(environment["SLURM_PROCID"])
    return int(environment.get("LOCAL_RANK", "0")) or int(environment.get("NODE_RANK", "0"))


def started_by_lightning(environment: Mapping[str, str] = os.environ) -> bool:
    """Is this a process that Lightning started beside the first one of a machine?"""
    outside = by_torchrun(environment) or by_srun(environment)
    return not outside and int(environment.get("LOCAL_RANK", "0")) > 0


def started_outside(environment: Mapping[str, str] = os.environ) -> bool:
    """Did torchrun, srun or a user on several machines start the processes, so that they share nothing yet?"""
    return by_torchrun(environment) or by_srun(environment) or "NODE_RANK" in environment


def end_with_parent() -> None:
    """Asks Linux to end this process when its parent dies, however it dies; elsewhere a broken connection ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def end_children(trainer: Any, *, patience: float = 0) -> None:
    """Ends the processes that Lightning started for a trainer that has failed: they would wait for it for ever.

    Lightning's observer thread looks at the same list and would kill this process because its children are dead: it
    finds the list empty and stops.

    Args:
        trainer: Lightning's trainer.
        patience: seconds that they have to end by themselves.
    """
    procs = getattr(trainer.strategy.launcher, "procs", [])
    children = list(procs)
    procs.clear()
    end = time.monotonic() + patience
    for process in children:
        try:
            process.wait(timeout=max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Stopped(BaseException):
    """A signal asked the run to stop.

    Attributes:
        exit_code: 128 + signal.
        together: all processes stop at the same step, with a checkpoint.
    """

    def __init__(self, signum: int, *, together: bool = False):
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        self.together = together


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGUSR1 raise `Stopped`: outside of training, where nothing needs to be finished first.

    A process that Lightning started leaves signals to the first process, which has the same terminal.
    """

    def stop(signum: int, frame: Any) -> None:
        raise Stopped(signum)

    action = signal.SIG_IGN if started_by_lightning() else stop
    before = {s: signal.signal(s, action) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
