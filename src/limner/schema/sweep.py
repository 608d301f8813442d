"""The config group `sweep`: a search over configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from limner.schema.keys import key

DIRECTIONS = ("max", "min")
MEASURED = ("seconds", "parameters")
"""Objectives that are no metrics: how long a job took, how many weights its model has."""


@dataclass
class Sweep:
    name: str = key("???", "the study: its folder is OUTPUTS/sweeps/EXPERIMENT/NAME; the same command continues it")
    sampler: str = key("tpe", "how configurations are chosen; grid: every combination once",
                       choices=("tpe", "random", "cmaes", "grid"))  # fmt: skip
    trials: int | None = key(20, "jobs in all, over every start of the command; null: a grid's number", low=1)
    seed: int = key(1, "decides every draw of the sampler, together with the number of the trial", low=0)
    objectives: dict[str, str] = key(
        {}, "metric -> max or min: val/... of the best epoch, seconds, parameters (weights of the model); {}: "
        "callbacks.monitor; several: a Pareto front"
    )  # fmt: skip
    pruner: str = key("none", "ends jobs whose validations fall behind; median: worse than half of the others, "
                      "halving: not in the best quarter after 1, 4, 16 ... epochs",
                      choices=("none", "median", "halving"))  # fmt: skip
    pruner_start_trials: int = key(5, "median: this many finished jobs before any is ended", low=1)
    pruner_start_epochs: int = key(1, "no job is ended before it has trained so many epochs", low=1)
    parameters: dict[str, Any] = key(
        {}, "what is searched: key -> interval(low,high), tag(log,interval(low,high)), int(interval(low,high)), "
        "range(low,end,step) or choice(a,b); the same on the command line extends or replaces it"
    )  # fmt: skip
    jobs: int = key(1, "jobs of a round, which a parallel launcher runs together; the next round waits for them", low=1)
    pin: str = key("none", "jobs of a round share out the cores or the GPUs of the machine, each on its own",
                   choices=("none", "cores", "gpus"))  # fmt: skip
    poll_seconds: float = key(1.0, "pruner: seconds between two looks at a job's validations", low=0.01)


def sweep_faults(config: DictConfig) -> list[str]:
    """What does not fit together in a search. What is searched is judged with the command line, in `limner.sweeps`."""
    sweep = config.sweep
    objectives = dict(sweep.objectives or {})
    faults = [
        f"sweep.objectives.{name}: found '{direction}', expected one of {', '.join(DIRECTIONS)}"
        for name, direction in objectives.items()
        if direction not in DIRECTIONS
    ]
    faults += [
        f"sweep.objectives.{name}: expected a validation metric (val/...) or one of {', '.join(MEASURED)}"
        for name in objectives
        if not name.startswith("val/") and name not in MEASURED
    ]
    if sweep.pruner != "none" and len(objectives) > 1:
        faults.append("sweep.pruner: several objectives cannot be compared in the middle of a training: take none")
    elif sweep.pruner != "none" and any(not name.startswith("val/") for name in objectives):
        faults.append("sweep.pruner: only a validation metric is known in the middle of a training: take none")
    if sweep.sampler == "cmaes" and len(objectives) > 1:
        faults.append("sweep.sampler=cmaes: is for one objective; tpe and random take several")
    if sweep.trials is None and sweep.sampler != "grid":
        faults.append(f"sweep.trials: found 'null', expected a number: sampler {sweep.sampler} has no end of its own")
    if "/" in sweep.name or sweep.name.startswith("."):
        faults.append(f"sweep.name={sweep.name}: expected the name of a folder")
    for name, value in (("resume", config.resume), ("paths.run", config.paths.run)):
        if value is not None:
            faults.append(f"{name}={value}: a search makes new runs, each in a folder of its own: {name}=null")
    return faults
