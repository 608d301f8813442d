"""One wandb run for one run folder, however often it is resumed; never in the way of the training."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from limner.files import write_whole
from limner.loggers.names import better, in_training
from limner.reports.source import read_metrics
from limner.run import RunFolder

FINISH = {"offline": 60, "online": 1800}
"""Seconds that wandb may take to end: it writes a file, or sends pictures and packages."""


class WandbRun(Logger):
    """Shows a run in wandb: the lines of metrics.jsonl and speed.jsonl, the configuration, examples, the package.

    A row of wandb's history is an optimiser step, and holds all that was logged at it. A resumed run shows what the
    run folder holds before it goes on, since wandb loses up to 15 seconds when a run is killed: each folder
    `wandb/offline-run-...` is then whole up to its end, and the newest one alone is enough to sync. In online mode only
    what the server lacks is shown.

    Nothing that wandb does ends a training: what it cannot do is said in one line, and the run goes on without it.

    Args:
        config: the `logger` group.
        run: its folder gets `wandb/` and `wandb_id.txt`.
        settings: the configuration to show in wandb, and the version of the code.
        monitor, mode: the score that picks the best epoch, and whether more of it is better: `max` or `min`.
        task: one of `limner.loggers.names.TASKS`, whose scores get their best values into the summary, too; empty for
            a task of one's own.
    """

    def __init__(
        self,
        config: Any,
        run: RunFolder,
        settings: dict[str, Any],
        *,
        monitor: str,
        mode: str,
        task: str = "",
    ):
        super().__init__()
        self.config, self.run, self.settings, self.task = config, run, settings, task
        scores = [name for name in (in_training(task) if task else ()) if name.startswith("val/") and better(name)]
        self.directions = {name: better(name) for name in scores} | {monitor: mode}
        self.over = False
        self._wandb: Any = None

    @property
    def name(self) -> str:
        return self.config.project

    @property
    def version(self) -> str:
        """The id of the wandb run; made when there is none."""
        file = self.run.path / "wandb_id.txt"
        if not file.is_file():
            write_whole(file, uuid.uuid4().hex[:12] + "\n")
        return file.read_text(encoding="utf-8").strip()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """wandb's own run, for callbacks of one's own; None where it failed or has ended."""
        if self._wandb is None and not self.over:
            with self.safely():
                self._wandb = self.started()
        return self._wandb

    @contextmanager
    def safely(self) -> Iterator[None]:
        """What goes wrong inside ends wandb for this run, with one line, but not the training."""
        try:
            yield
        except Exception as error:
            self.over, self._wandb = True, None
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            told = f"warning: wandb: {reason}; the run goes on, metrics.jsonl has everything"
            print(told, file=sys.stderr, flush=True)
            with suppress(Exception):  # otherwise its exit hook fails again, with a traceback
                import wandb

                wandb.teardown()

    def started(self) -> Any:
        """wandb's run, its service started.

        Raises:
            OSError: the run folder cannot be written; wandb would go elsewhere.
        """
        folder = self.run.path / "wandb"
        folder.mkdir(exist_ok=True)
        os.environ.setdefault("WANDB_DATA_DIR", str(folder))  # pictures wait here, not in the home folder, to be synced
        import wandb

        online, code = self.config.mode == "online", self.settings.get("code") or {}
        made = wandb.init(
            name="/".join(self.run.path.parts[-2:]),
            dir=str(self.run.path),
            id=self.version,
            resume="allow" if online else None,
            project=self.config.project,
            entity=self.config.entity,
            group=self.config.group,
            tags=list(self.config.tags),
            job_type=self.task or "train",  # dashboards show the runs of one task by it
            config=self.settings,
            mode=self.config.mode,
            settings=wandb.Settings(
                silent=not online,  # its banner is long
                disable_git=True,  # the version of the code is ours; a diff of the user's files is nobody's
                disable_code=True,
                git_commit=code.get("commit"),
                finish_timeout=FINISH[self.config.mode],
                finish_timeout_raises=True,
            ),
        )
        made.define_metric("epoch", hidden=True)
        for name, direction in self.directions.items():
            made.define_metric(name, summary=f"{direction},last")
        return made

    @rank_zero_only
    def catch_up(self, *files: Path) -> None:
        """Shows the lines that lie in files already, in the order of steps; none in a new run."""
        lines = [line for file in files for line in read_metrics(file) if isinstance(line.get("step"), int)]
        first = 0
        if lines and self.experiment is not None:
            with self.safely():
                first = self.experiment.step
        for line in sorted(lines, key=lambda line: line["step"]):
            if line["step"] >= first:
                known = {name: value for name, value in line.items() if name != "step" and value is not None}
                self.log_metrics(known, line["step"])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self.experiment is not None:
            with self.safely():
                self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration was shown at the start."""

    @rank_zero_only
    def finish(self, result: Mapping[str, Any], package: Path | None = None) -> None:
        """Ends wandb's run well.

        Args:
            result: as result.json: `objective` and `epoch` go to the summary, `metrics` to the package.
            package: a model package to keep as an artifact; None: none.
        """
        run = self.experiment
        if run is None:
            return
        with self.safely():
            run.summary.update({"objective": result["objective"], "objective_epoch": result["epoch"]})
            if package is not None:
                import wandb

                name = "-".join(self.run.path.parts[-2:])
                artifact = wandb.Artifact(name, type="model", metadata=dict(result["metrics"]))
                for file in sorted(package.iterdir()):  # not `add_dir`, which prints
                    artifact.add_file(str(file), policy="immutable")  # not copied: the package stays where it is
                run.log_artifact(artifact, aliases=["best"])
            run.finish()
        self._wandb, self.over = None, True
