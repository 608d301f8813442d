"""The search itself: rounds of jobs, asked for and told, until the study has its trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from limner.errors import UserError
from limner.paths import shown
from limner.sweeps.job import objectives_of
from limner.sweeps.leaderboard import short
from limner.sweeps.space import combinations, single, space_of
from limner.sweeps.study import AGAIN, Study, distributions

Launch = Callable[[list[list[str]]], Any]


class Search:
    """A study and its command.

    Args:
        folder: of the sweep; this process holds it alone.
        config: the configuration with its `sweep` group.
        words: the overrides of the command line.
    """

    def __init__(self, folder: Path, config: DictConfig, words: Iterable[str]):
        self.sweep, words = config.sweep, list(words)
        self.space = space_of(self.sweep.parameters or {}, words)
        self.fixed = single(words)
        self.objectives = objectives_of(config)
        self.study = Study(folder, list(self.objectives.values()))
        self.wanted = self.sweep.trials

    def run(self, launch: Launch) -> None:
        """Runs rounds until the study has its trials.

        Args:
            launch: runs jobs, a list of overrides each, and returns when all have ended.

        Raises:
            UserError: the launcher cannot start jobs.
        """
        print(f"search: {shown(self.study.folder)}; a job's output is in N/output.txt there", flush=True)
        lost = self.study.recover()
        if lost:
            print(f"found from a sweep that was killed: {', '.join(f'job {k}' for k in lost)}; tried once again")
        if self.sweep.sampler == "grid":
            self.enqueue()
        done = self.study.finished()
        if done:
            print(f"the study goes on: it has {done} finished jobs", flush=True)
        while (left := self.wanted - self.study.finished()) > 0:
            self.round(launch, min(left, self.sweep.jobs))

    def enqueue(self) -> None:
        """Puts the points of a grid that no trial has yet into the queue."""
        points = combinations(self.space)
        there = [trial.system_attrs.get("fixed_params", trial.params) for trial in self.study.trials()]
        for point in points:
            if point not in there:
                self.study.optuna.enqueue_trial(point)
        self.wanted = min(self.wanted or len(points), len(points))

    def round(self, launch: Launch, jobs: int) -> None:
        from limner.sweeps.samplers import sampler

        kinds = distributions(self.space)
        trials = []
        for _ in range(jobs):
            self.study.optuna.sampler = sampler(self.sweep, len(self.study.trials()))
            trials.append(self.study.optuna.ask(kinds))
        batch = [[*self.fixed, *self.chosen(trial), f"hydra.sweep.subdir={trial.number}"] for trial in trials]
        fault: Exception | None = None
        try:
            launch(batch)
        except Exception as error:  # a cluster's job that was cancelled or ran out of time: the others count
            fault = error
        except BaseException:  # stopped by a signal: the next start begins these jobs anew
            for trial in trials:
                if not (self.study.folder / str(trial.number) / "job.json").is_file():
                    self.study.repeat(trial.number, died=False)
            raise
        told = [(trial, self.study.tell(trial.number)) for trial in trials]
        if fault is not None and not any(found for _, found in told):
            raise UserError(f"the launcher cannot run jobs: {type(fault).__name__}: {fault}")
        for trial, found in told:
            print(self.line(trial, found), flush=True)

    def chosen(self, trial: Any) -> list[str]:
        """The parameters of a trial as overrides."""
        return [f"{name}={trial.params[name]}" for name in self.space]

    def line(self, trial: Any, found: dict[str, Any]) -> str:
        """A finished job in one line."""
        values = found.get("values") or []
        state = found.get("state", "failed")
        reached = "  ".join(f"{name} {short(value)}" for name, value in zip(self.objectives, values)) or state
        again = f"  (job {trial.user_attrs[AGAIN]} again)" if AGAIN in trial.user_attrs else ""
        return f"job {trial.number}: {reached}  {'  '.join(f'{k}={short(v)}' for k, v in trial.params.items())}{again}"
