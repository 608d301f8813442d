"""`python interrupted.py VERB ...` is `limner VERB ...` to which something happens at a chosen point; run as a script.

LIMNER_TEST_INTERRUPT=WHERE:NUMBER:WHAT[:RANK]. WHERE is `step` (at the end of optimiser step NUMBER, before anything is
saved for it), `validation` (at the first batch of validation NUMBER), `test` (at the first batch of the test after
training), `package` or `rows` (before either is written). WHAT is one of, or several joined by `+`:

  SIGNAL      the process gets that signal
  full-BYTES  the disk of the run folder has no more than so many bytes left
  read-only   the disk of the run folder takes no more writes
  clock-SECONDS  time.time() and all that is built on it goes back by so much; monotonic clocks cannot

Only the process RANK gets it (the first, unless said), and not again when torchrun has started it anew. What was saved
before is on the disk by then. Without the variable nothing is changed.
LIMNER_TEST_CLOCK=SECONDS sets the clock so far ahead from the start (or back, -SECONDS); @SECONDS stops it there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def interrupt() -> None:
    where, count, what, *given = os.environ["LIMNER_TEST_INTERRUPT"].split(":")
    number, rank = int(count), int(given[0]) if given else 0
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"

    import pytorch_lightning as pl

    from limner import build, evaluate
    from limner.checkpoint_files import SAVING

    class Interrupt(pl.Callback):
        validations = 0

        def __init__(self, run):
            self.run = run

        def now(self) -> None:
            while (self.run.checkpoints / SAVING).exists():
                time.sleep(0.01)
            for each in what.split("+"):
                happen(each, self.run.path)

        def at(self, trainer: pl.Trainer, here: bool) -> None:
            if here and trainer.global_rank == rank and not again:
                self.now()

        def on_train_batch_end(self, trainer, *_):
            self.at(trainer, where == "step" and trainer.global_step == number)

        def on_validation_batch_start(self, trainer, module, batch, index, *_):
            self.validations += index == 0
            self.at(trainer, where == "validation" and index == 0 and self.validations == number)

        def on_test_batch_start(self, trainer, module, batch, index, *_):
            self.at(trainer, where == "test" and index == 0)

    def callbacks(config, run):
        made = Interrupt(run)
        for module, name in ((build, "save_package"), (evaluate, "save_evaluation")):
            if where == {"save_package": "package", "save_evaluation": "rows"}[name]:
                setattr(module, name, first(made.now, getattr(module, name)))
        return [made, *before(config, run)]

    before = build.build_callbacks
    build.build_callbacks = callbacks


def first(happens, function):
    """`function`, before which something happens."""

    def both(*given, **named):
        happens()
        return function(*given, **named)

    return both


def happen(what: str, run: Path) -> None:
    kind, _, value = what.partition("-")
    if kind == "full":
        fill(run.parent / "ballast", int(value))
    elif kind == "read":
        subprocess.run(["mount", "-o", "remount,ro", str(run.parent)], check=True)
    elif kind == "clock":
        turn_back(float(value))
    else:
        os.kill(os.getpid(), int(kind))


def fill(ballast: Path, left: int) -> None:
    """Writes zeros until the disk is full, then gives some bytes back."""
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
        file.truncate(max(file.tell() - left, 0))


def turn_back(seconds: float) -> None:
    clock = time.time
    set_clock(lambda: clock() - seconds)


def set_clock(clock) -> None:
    """What a wrong clock is to this process."""
    written, local = time.strftime, time.localtime
    time.time = clock
    time.localtime = lambda moment=None: local(time.time() if moment is None else moment)
    time.strftime = lambda form, moment=None: written(form, moment or time.localtime())


def prepare() -> None:
    """Does what the environment asks for."""
    if wanted := os.environ.get("LIMNER_TEST_CLOCK"):
        if wanted.startswith("@"):
            set_clock(lambda: float(wanted[1:]))
        else:
            turn_back(-float(wanted))
    if "LIMNER_TEST_INTERRUPT" in os.environ:
        interrupt()


if __name__ == "__main__":
    prepare()
    from limner.cli import main

    sys.exit(main())
