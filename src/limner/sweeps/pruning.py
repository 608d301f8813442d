"""Hopeless jobs: what a running job has reached is told to the study, and the pruner is asked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from limner.reports.source import number, read_metrics
from limner.sweeps.study import Study


class Watch:
    """Looks at the validations of one job. It stands in the job's own process, beside whatever launcher.

    Args:
        sweep: the `sweep` group.
        folder: of the job; its name is the number of the trial.
        objective: the metric that is compared.
    """

    def __init__(self, sweep: Any, folder: Path, objective: str):
        self.path, self.objective, self.every = folder / "metrics.jsonl", objective, float(sweep.poll_seconds)
        self.study = Study(folder.parent)
        self.pruner = pruner(sweep)
        self.trial = int(folder.name)
        self._looked, self._size, self._told = 0.0, 0, set[int]()

    def hopeless(self) -> bool:
        """Has the job a new validation, and does the pruner give it up? Epochs are counted as epochs done."""
        now = time.monotonic()
        size = self.path.stat().st_size if self.path.is_file() else 0
        if now - self._looked < self.every or size == self._size:
            return False
        self._looked, self._size = now, size
        found = False
        for line in read_metrics(self.path):
            epoch, value = number(line.get("epoch")), number(line.get(self.objective))
            if epoch is not None and value is not None and int(epoch) + 1 not in self._told:
                self._told.add(int(epoch) + 1)
                self.study.report(self.trial, int(epoch) + 1, value)
                found = found or self.pruner.prune(self.study.optuna, self.study.trial(self.trial))
        return found


def pruner(sweep: Any) -> Any:
    """Optuna's pruner of a search."""
    from optuna import pruners

    if sweep.pruner == "median":
        return pruners.MedianPruner(sweep.pruner_start_trials, sweep.pruner_start_epochs)
    return pruners.SuccessiveHalvingPruner(min_resource=sweep.pruner_start_epochs, reduction_factor=4)
