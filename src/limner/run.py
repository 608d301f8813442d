"""The run folder: one folder holds everything a run leaves behind, and says truthfully how the run ended.

outputs/NAME/20260131-142501/
  config.yaml        the whole configuration, resolved; `resume=` and `evaluate run=` read it
  command.txt        what was typed
  versions.json      Python, limner and its commit, torch, ...
  status.json        running, done, failed or stopped, with the reason and the exit code
  metrics.jsonl      one line a logged step or epoch
  speed.jsonl        how fast it was, and the memory it held
  checkpoints/       best.ckpt, last.ckpt and previous.ckpt, the one before (limner.checkpoint_files)
  package/           the best model as a model package
  eval/SPLIT/        metrics.json and rows.jsonl.gz
  result.json        the objective and the last metrics
"""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from limner.code_version import code_version
from limner.errors import UserError
from limner.files import write_json, write_whole
from limner.launchers import agree, job
from limner.processes import number, started_by_lightning, started_outside

RUN_ENV = "LIMNER_RUN"
"""The environment variable that tells the processes of a run its folder."""


@dataclass
class RunFolder:
    """A run's folder; see the module's picture."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def package(self) -> Path:
        return self.path / "package"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def speed(self) -> Path:
        return self.path / "speed.jsonl"

    def status(self) -> dict[str, Any]:
        """The content of status.json; `{"state": "unknown"}` when there is none."""
        path = self.path / "status.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"state": "unknown"}

    def write_status(self, state: str, **more: Any) -> None:
        """Writes status.json. States: running, done, failed, stopped (by a signal; `resume=` continues it)."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        kept = {k: v for k, v in self.status().items() if k == "started"} if state != "running" else {"started": now}
        where = {"pid": os.getpid(), "host": socket.gethostname()} | ({"job": job()} if job() else {})
        write_json(self.path / "status.json", {"state": state, **where, **kept, "at": now, **more})

    def state(self) -> str:
        """What status.json says, or `died` where it says running and the process is gone (killed, or a power cut)."""
        status = self.status()
        if status["state"] != "running":
            return status["state"]
        if status.get("host") != socket.gethostname():
            # a scheduler that starts a job again, on other machines, has ended what ran of it before
            return "died" if status.get("job") and status["job"] == job() else "running"
        try:
            os.kill(status["pid"], 0)
        except ProcessLookupError:
            return "died"
        except PermissionError:
            pass
        return "running"


def make_run_folder(config: DictConfig, command: list[str], *, again: bool = False) -> RunFolder:
    """Makes a new run folder (its name is unique even when two runs start in the same second) and saves the config.

    All processes of a run get the folder that the first one made.

    Args:
        config: `paths.run` names the folder, or else `paths.outputs` and `name`.
        command: what was typed.
        again: the folder `paths.run` may hold a run that died before its first checkpoint; it is begun again there.
    """

    def make() -> str:
        if not config.paths.run:
            parent = Path(config.paths.outputs).absolute() / config.name
            return str(unique_folder(parent, time.strftime("%Y%m%d-%H%M%S")))
        folder = Path(config.paths.run).absolute()
        begun = again and not RunFolder(folder).last.is_file() and RunFolder(folder).state() != "running"
        if (folder / "config.yaml").exists() and not begun:
            raise UserError(f"paths.run={folder}: a run is already there; continue it with resume={folder}")
        make_folder(folder)
        return str(folder)

    if config.trainer.num_nodes > 1 and not (started_outside() or started_by_lightning()):
        raise UserError(
            f"trainer.num_nodes={config.trainer.num_nodes}: start it with torchrun or srun, or on each machine with "
            "NODE_RANK=0, 1, ... and MASTER_ADDR, MASTER_PORT of machine 0"
        )
    run = RunFolder(Path(agree(RUN_ENV, make)))
    if number() == 0:
        for path in (run.metrics, run.speed):  # of one that died before its first checkpoint
            path.unlink(missing_ok=True)
        write_whole(run.config, OmegaConf.to_yaml(config, resolve=True))
        write_whole(run.path / "command.txt", " ".join(command) + "\n")
        write_json(run.path / "versions.json", versions())
    return run


def versions() -> dict[str, Any]:
    """What a run is made with, for whoever must repeat it; nothing heavy is imported."""
    found = {"python": platform.python_version(), "platform": platform.platform(), **code_version()}
    for name in ("torch", "pytorch-lightning", "hydra-core", "numpy", "h5py", "wandb"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        advice = "choose another with paths.outputs=DIR"
        raise UserError(f"{folder}: the run folder cannot be made ({error.strerror}); {advice}") from None


def unique_folder(parent: Path, stamp: str) -> Path:
    """Makes PARENT/STAMP, or PARENT/STAMP-1, -2, ... when another run was quicker; `mkdir` decides, not a look."""
    make_folder(parent)
    for attempt in range(1000):
        folder = parent / (stamp if attempt == 0 else f"{stamp}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder}: the run folder cannot be made ({error.strerror})") from None
        return folder
    raise UserError(f"{parent}: a thousand runs started in the second {stamp}")


def open_run(path: str) -> RunFolder:
    """The folder of an earlier run.

    Raises:
        UserError: it is not a run folder.
    """
    run = RunFolder(Path(path).absolute())
    if not run.config.is_file():
        raise UserError(f"{path} is not a run folder (no config.yaml); limner ls shows the runs")
    return run
