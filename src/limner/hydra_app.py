"""What Hydra's own command line does: `--cfg job`, `--help`, `--info`; and sweeps, which are Hydra's too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from limner import preflight
from limner.errors import UserError
from limner.paths import conf_dir
from limner.sweeps.space import one_job


def main(verb: str, overrides: list[str], config_dirs: list[str], flags: list[str]) -> int:
    """Runs Hydra's application for a verb; the exit code (1 when a job of a sweep failed)."""
    names = {flag.partition("=")[0] for flag in flags}
    shows = names - {"-m", "--multirun"}
    if names - shows and verb != "train":
        raise UserError("only limner train sweeps (-m): call it once for each")
    if not shows:
        from limner.sweeps.command import sweep

        return sweep(overrides, config_dirs)
    if names & {"-c", "--cfg"}:
        flags = [flag for flag in flags if flag not in ("-m", "--multirun")]
        overrides = [*one_job(overrides), *(word for word in overrides if word.startswith("hydra"))]
        preflight.compose(verb, one_job(overrides), config_dirs, checked=False)
    elif verb == "train" and not any(o.startswith("experiment=") for o in overrides):
        overrides = [*overrides, "experiment=toy_vqa"]  # help and info need some experiment to show
    preflight.split_overrides(one_job(overrides), config_dirs)  # names an unknown option before Hydra does
    application(verb, [*flags, *overrides], config_dirs, lambda config: None)
    return 0


def application(
    verb: str, words: list[str], config_dirs: list[str], task: Callable[[DictConfig], float | None]
) -> None:
    """Runs a task as Hydra's application with the given command line."""
    search = [f"--config-dir={Path(folder).resolve()}" for folder in config_dirs]

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)
    def started(config: DictConfig) -> float | None:
        return task(config)

    sys.argv = [f"limner {verb}", *search, *words]
    started()
