"""The Hydra plugin of `sweep=NAME`: hands Hydra's launcher to limner's search. Hydra imports it at every start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="limner",
    node={"_target_": "hydra_plugins.limner_sweeper.limner_sweeper.LimnerSweeper"},
    provider="limner",
)


class LimnerSweeper(Sweeper):
    """Asks Optuna for the next jobs and gives them to the launcher, until the study has its trials."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.hydra_context = hydra_context
        self.launcher: Launcher | None = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launched = 0

    def sweep(self, arguments: list[str]) -> None:
        from limner.errors import UserError
        from limner.sweeps.command import Refused
        from limner.sweeps.search import Search

        assert self.config is not None
        try:
            Search(Path(self.config.hydra.sweep.dir), self.config, arguments).run(self.launch)
        except UserError as error:
            raise Refused(error) from None

    def launch(self, batch: list[list[str]]) -> Any:
        assert self.launcher is not None
        results = self.launcher.launch(batch, initial_job_idx=self.launched)
        self.launched += len(batch)
        return [result.return_value for result in results]  # raises what a job raised
