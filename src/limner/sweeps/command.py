"""`limner train -m ...` and `limner train sweep=NAME ...`: from the command line to the leaderboard."""

from __future__ import annotations

import functools
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from omegaconf import DictConfig

from limner import preflight
from limner.errors import UserError
from limner.processes import Stopped, stoppable
from limner.run import unique_folder
from limner.sweeps.job import job, objectives_of, quoted
from limner.sweeps.keeper import SWEEPER_ENV
from limner.sweeps.places import places
from limner.sweeps.report import finish
from limner.sweeps.space import (
    first_of,
    is_sweep_key,
    one_job,
    refuse_endless,
    refuse_unfit,
    refuse_unknown_options,
    single,
    space_of,
)

FOLDER = "hydra.sweep.dir="


class Refused(BaseException):
    """Carries a user's error through Hydra, which would print a traceback for any other exception."""

    def __init__(self, error: UserError):
        super().__init__(str(error))
        self.error = error


def sweep(words: list[str], config_dirs: list[str]) -> int:
    """Runs a grid, or begins or continues a search; the exit code: 1 when a job failed."""
    searched = any(is_sweep_key(word) for word in words)
    config = preflight.compose("train", one_job(words), config_dirs, checked=not searched)
    searched = config.get("sweep") is not None
    space = space_of(config.sweep.parameters or {} if searched else {}, words)
    if searched:
        first = [*single(word for word in words if not word.startswith("hydra")), *first_of(space)]
        config = preflight.compose("train", first, config_dirs)
        refuse_unfit(space, config.sweep.sampler)
        places(config.sweep.pin, config.sweep.jobs)
    else:
        refuse_endless(space)
    refuse_unknown_options(space, config_dirs)
    refuse_launcher(words)
    if config.trainer.num_nodes > 1:
        raise UserError("trainer.num_nodes: a job of a sweep runs on one machine: trainer.num_nodes=1")
    folder = folder_of(config, words)
    hydra_words = [word for word in words if not word.startswith(FOLDER)] + [f"{FOLDER}{quoted(folder)}"]
    hold: AbstractContextManager = nullcontext()
    if searched:
        from limner.sweeps.study import claim, held, import_optuna

        import_optuna()
        hold = held(folder)
        hydra_words += ["hydra/sweeper=limner", *launcher_words(words, config.sweep.jobs)]
    with hold:
        if searched:
            claim(folder, config, space, objectives_of(config))
        stopped = run(hydra_words, config_dirs)
        failed = finish(folder)
    return stopped or int(failed)


def run(words: list[str], config_dirs: list[str]) -> int:
    """Runs Hydra's multirun; 0, or the exit code of the signal that stopped it."""
    from limner.hydra_app import application

    task = functools.partial(job, config_dirs=[str(Path(folder).resolve()) for folder in config_dirs])
    try:
        with stoppable(), sweeper_named():
            application("train", ["--multirun", *words], config_dirs, task)
    except Stopped as error:
        print(f"sweep stopped by {error}; the finished jobs are kept", file=sys.stderr)
        return error.exit_code
    except Refused as error:
        raise error.error from None
    return 0


@contextmanager
def sweeper_named() -> Iterator[None]:
    """Tells jobs in other processes which process they belong to."""
    os.environ[SWEEPER_ENV] = f"{socket.gethostname()}:{os.getpid()}"
    try:
        yield
    finally:
        del os.environ[SWEEPER_ENV]


def folder_of(config: DictConfig, words: list[str]) -> Path:
    """The folder of the sweep: a new one for a grid, always the same for a search of one name."""
    given = [word for word in words if word.startswith(FOLDER)]
    if given:
        return Path(str(preflight.parse(given[-1]).value())).absolute()
    parent = Path(config.paths.outputs).absolute() / "sweeps" / config.name
    if config.get("sweep") is not None:
        return parent / config.sweep.name
    return unique_folder(parent, time.strftime("%Y%m%d-%H%M%S"))


def launcher_words(words: list[str], jobs: int) -> list[str]:
    """joblib starts as many jobs at a time as there are in a round."""
    chosen = any(word == "hydra/launcher=joblib" for word in words)
    given = any(word.startswith("hydra.launcher.n_jobs=") for word in words)
    return [f"hydra.launcher.n_jobs={jobs}"] if chosen and not given else []


def refuse_launcher(words: list[str]) -> None:
    """Refuses a launcher that is not installed, and one that would start a job more than once."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # reads the plugins, which register their launchers
    known = sorted(name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher"))
    for word in words:
        name, _, value = word.partition("=")
        if name == "hydra/launcher" and value not in known:
            extras = "joblib and submitit come with pip install 'limner[joblib,submitit]', ray with hydra-ray-launcher"
            raise UserError(f"{word}: there is no such launcher; there are {', '.join(known)}; {extras}")
        if name in ("hydra.launcher.tasks_per_node", "hydra.launcher.nodes") and value != "1":
            raise UserError(f"{word}: expected 1: each job starts its own processes (trainer=ddp trainer.devices=N)")
