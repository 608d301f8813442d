"""One job of a sweep: a training in a process group of its own, watched until it ends, whatever launcher runs this.

Inside Hydra's process, Lightning's DDP children would run the command line of the whole sweep again, and a failed job
would leave its processes behind.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from limner.errors import UserError
from limner.files import write_json
from limner.reports.source import read_json, read_metrics
from limner.run import RUN_ENV
from limner.sweeps.keeper import PATIENCE, Sweeper, end_with_sweeper
from limner.sweeps.places import taken
from limner.sweeps.space import is_sweep_key

TRAIN = [sys.executable, "-m", "limner", "train"]
LOOK = 0.2  # seconds between two looks at a training
RANKS = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_ID")
"""Of a launcher's Slurm job, which has one task: Lightning would take it for all the processes of the training."""


def job(config: DictConfig, config_dirs: Sequence[str]) -> float:
    """Runs one job; its first objective, NaN when it failed or was ended. JOB/job.json says how it went.

    Args:
        config: the job's configuration, with its `sweep` group when it belongs to a search.
        config_dirs: the user's folders of configs.
    """
    from hydra.core.hydra_config import HydraConfig

    end_with_sweeper()
    settings = HydraConfig.get()
    words = [str(word) for word in settings.overrides.task if not is_sweep_key(str(word))]
    ended = run_job(config, Path(settings.runtime.output_dir), words, config_dirs)
    return float("nan") if ended["values"] is None else ended["values"][0]


def run_job(config: DictConfig, folder: Path, words: list[str], config_dirs: Sequence[str]) -> dict[str, Any]:
    """Runs the training of some overrides into a folder; what it writes into JOB/job.json."""
    sweep = config.get("sweep")
    objectives = objectives_of(config)
    more = [f"paths.run={quoted(folder)}"]
    if config.logger.group is None:
        more.append(f"logger.group={quoted(folder.parent.name)}")
    command = [*TRAIN, *(f"--config-dir={directory}" for directory in config_dirs), *words, *more]
    begin, sweeper = time.monotonic(), Sweeper()
    with taken(folder.parent, sweep.pin if sweep else "none", sweep.jobs if sweep else 1) as place:
        watch = None
        if sweep and sweep.pruner != "none":
            from limner.sweeps.pruning import Watch

            watch = Watch(sweep, folder, next(iter(objectives)))
        code, pruned = run(command, folder, place.cores, place.environment, watch, quiet=bool(sweep))
    ended: dict[str, Any] = {"overrides": words, "config_dirs": list(config_dirs), "objectives": objectives}
    ended |= {"exit_code": code, "seconds": round(time.monotonic() - begin, 1)}
    try:
        if code == 0:
            ended |= {"state": "done", "values": values_of(folder, objectives, ended["seconds"])}
        else:
            ended |= {"state": "pruned" if pruned else "failed", "values": None}
    except UserError as error:  # a search cannot use the job; in a grid it has done what it was asked for
        ended |= {"state": "failed" if sweep else "unscored", "values": None, "reason": str(error)}
    if code != 0 and sweeper.gone():
        return ended  # its keeper has ended it for that reason: the next start finds it lost, not failed
    write_json(folder / "job.json", ended)
    if ended["state"] == "failed":
        why = ended.get("reason") or f"exit code {code}"
        where = f"; see {folder / 'output.txt'}" if sweep else ""
        print(f"job {folder.name} failed: {why}{where}; the others go on", file=sys.stderr, flush=True)
    return ended


def objectives_of(config: DictConfig) -> dict[str, str]:
    """Metric -> max or min, of the search or of the run's `callbacks`."""
    sweep = config.get("sweep")
    return dict(sweep.objectives if sweep else {}) or {config.callbacks.monitor: config.callbacks.mode}


def run(
    command: list[str], folder: Path, cores: Sequence[int], more: Mapping[str, str], watch: Any, *, quiet: bool
) -> tuple[int, bool]:
    """Runs a training to its end; its exit code, and whether the pruner ended it. None of its processes is left.

    Args:
        cores: those it may use; empty: all.
        more: environment of the training.
        watch: says whether a training is hopeless; None: nobody asks.
        quiet: its output goes to JOB/output.txt, not to the terminal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keeper = [sys.executable, "-m", "limner.sweeps.keeper", str(os.getpid()), ",".join(map(str, cores))]
    pruned = False
    with open(folder / "output.txt", "ab") if quiet else nullcontext() as out:
        process = subprocess.Popen(
            [*keeper, *command], env={**environment(), **more}, stdout=out, stderr=out, start_new_session=True
        )
        try:
            while process.poll() is None:
                if watch is not None and watch.hopeless():
                    pruned = True
                    stop(process)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK)
        finally:
            stop(process)
    return process.returncode, pruned


def environment() -> dict[str, str]:
    """What a training inherits: neither another run's folder nor the place in a launcher's group of one."""
    return {key: value for key, value in os.environ.items() if key not in (RUN_ENV, *RANKS)}


def stop(process: subprocess.Popen) -> None:
    """Ends a job that still runs, politely, and whatever is left of its group."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE + 5)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def values_of(folder: Path, objectives: Mapping[str, str], seconds: float) -> list[float]:
    """The objectives of a finished job, of the epoch that its package holds.

    Raises:
        UserError: the job has no value for one of them.
    """
    result = read_json(folder / "result.json")
    known: dict[str, Any] = {}
    for line in read_metrics(folder / "metrics.jsonl"):
        if line.get("epoch") == result.get("epoch"):
            known |= {name: value for name, value in line.items() if name.startswith("val/")}
    known |= {**(result.get("metrics") or {}), "seconds": seconds}
    if "parameters" in objectives:
        known["parameters"] = weights_in(folder / "package/model.safetensors")
    found = []
    for name in objectives:
        value = known.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            there = ", ".join(sorted(key for key in known if key.startswith("val/"))) or "no validation"
            raise UserError(f"there is no value of {name}; the job has {there}")
        found.append(float(value))
    return found


def weights_in(path: Path) -> int:
    """How many numbers a safetensors file holds; only its head is read."""
    with open(path, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def quoted(value: object) -> str:
    """A value as Hydra reads it back, whatever characters it has."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", str(value))  # before a quote, two backslashes stand for one
    tail = len(text) - len(text.rstrip("\\"))
    return f"'{text}{tail * chr(92)}'"
