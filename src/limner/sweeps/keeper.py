"""`python -m limner.sweeps.keeper PARENT CORES COMMAND ...`: leads the process group of one training.

It passes signals on to the training, and ends the whole group when whoever waits for the job is gone, however that
died: SIGKILL reaches no child. Polling does what Linux's parent death signal does, on every system, for processes that
a dying training has just started, too, and for a launcher between the sweep and the job.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

SWEEPER_ENV = "LIMNER_SWEEPER"
"""`HOST:PID` of the sweep: a launcher's processes (joblib, submitit) may outlive it."""
PATIENCE = 30
"""Seconds that a training has to write its checkpoint."""


def main(arguments: list[str]) -> int:
    """The exit code of the command, 128 + signal when a signal ended it."""
    parent, cores, *command = arguments
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    asked: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, lambda number, frame: asked.append(number))
    sweeper = Sweeper()
    process = subprocess.Popen(command)
    while process.poll() is None:
        orphan = os.getppid() != int(parent) or sweeper.gone()
        if asked or orphan:
            end(process, asked[0] if asked else signal.SIGTERM, PATIENCE)
            if orphan:  # nobody else looks after the rest of the group
                os.killpg(0, signal.SIGKILL)
            break
        time.sleep(0.1)
    code = process.wait()
    return 128 - code if code < 0 else code


def end(process: subprocess.Popen, signum: int, patience: float) -> None:
    """Ends a process: politely, then for good."""
    with suppress(ProcessLookupError):
        process.send_signal(signum)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@functools.cache  # once in a process
def end_with_sweeper() -> None:
    """Ends a launcher's process when the sweep's is gone: joblib's would wait for ever. Jobs have their keepers."""
    sweeper = Sweeper()
    if sweeper.pid is None or sweeper.pid == os.getpid():
        return

    def watch() -> None:
        while not sweeper.gone():
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Sweeper:
    """The process that the sweep's command runs in, when it can be seen from here (same machine and container)."""

    def __init__(self) -> None:
        host, _, pid = os.environ.get(SWEEPER_ENV, "").rpartition(":")
        self.pid = int(pid) if pid and host == socket.gethostname() and there(int(pid)) else None

    def gone(self) -> bool:
        return self.pid is not None and not there(self.pid)


def there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
