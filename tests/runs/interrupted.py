"""`python interrupted.py VERB ...` is `limner VERB ...` that gets a signal at a chosen point; run as a script.

LIMNER_TEST_INTERRUPT=WHERE:NUMBER:SIGNAL. WHERE is `step` (at the end of optimiser step NUMBER, before anything is
saved for it), `validation` (at the first batch of validation NUMBER) or `test` (at the first batch of the test after
training). Only the first process gets it. Without the variable nothing is changed.
"""

from __future__ import annotations

import os
import sys


def interrupt() -> None:
    where, count, signum = os.environ["LIMNER_TEST_INTERRUPT"].split(":")
    number = int(count)

    import pytorch_lightning as pl

    from limner import build

    class Interrupt(pl.Callback):
        validations = 0

        def now(self, trainer: pl.Trainer) -> None:
            if trainer.is_global_zero:
                os.kill(os.getpid(), int(signum))

        def on_train_batch_end(self, trainer, *_):
            if where == "step" and trainer.global_step == number:
                self.now(trainer)

        def on_validation_batch_start(self, trainer, module, batch, index, *_):
            self.validations += index == 0
            if where == "validation" and index == 0 and self.validations == number:
                self.now(trainer)

        def on_test_batch_start(self, trainer, module, batch, index, *_):
            if where == "test" and index == 0:
                self.now(trainer)

    before = build.build_callbacks
    build.build_callbacks = lambda config, run: [Interrupt(), *before(config, run)]


if __name__ == "__main__":
    if "LIMNER_TEST_INTERRUPT" in os.environ:
        interrupt()
    from limner.cli import main

    sys.exit(main())
