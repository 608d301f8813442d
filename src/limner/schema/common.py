"""Config groups that every task shares: optimiser, schedule, trainer, logger, callbacks, paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limner.schema.keys import key

# --- optim: the keys are the arguments of the torch class; parameters are added when it is built ---


@dataclass
class Adamax:
    _target_: str = "torch.optim.Adamax"
    _partial_: bool = True
    lr: float = key(2e-3, "learning rate", low=0)
    betas: list[float] = key([0.9, 0.999], "decay rates of the first moment and the infinity norm")
    eps: float = key(1e-8, "added to the infinity norm", low=0)
    weight_decay: float = key(0.0, "L2 penalty", low=0)


@dataclass
class Adadelta:
    _target_: str = "torch.optim.Adadelta"
    _partial_: bool = True
    lr: float = key(1.0, "factor on the update (1: Zeiler 2012)", low=0)
    rho: float = key(0.95, "decay rate of the running averages")
    eps: float = key(1e-6, "added under the square roots", low=0)
    weight_decay: float = key(0.0, "L2 penalty", low=0)


@dataclass
class Adam:
    _target_: str = "torch.optim.Adam"
    _partial_: bool = True
    lr: float = key(5e-4, "learning rate", low=0)
    betas: list[float] = key([0.9, 0.999], "decay rates of the moments")
    eps: float = key(1e-8, "added to the second moment's root", low=0)
    weight_decay: float = key(0.0, "L2 penalty", low=0)
    fused: bool | None = key(None, "one kernel for all weights, faster for small models; null: torch decides")


@dataclass
class AdamW(Adam):
    _target_: str = "torch.optim.AdamW"
    weight_decay: float = key(0.01, "decoupled weight decay", low=0)


@dataclass
class SGD:
    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = key(0.01, "learning rate", low=0)
    momentum: float = key(0.9, "momentum", low=0)
    nesterov: bool = key(False, "Nesterov's form of momentum")
    weight_decay: float = key(0.0, "L2 penalty", low=0)


# --- schedule: a factor on the learning rate as a function of the epoch (fractions count) ---


@dataclass
class Constant:
    _target_: str = "limner.optim.Constant"
    warmup_epochs: float = key(0.0, "epochs over which the factor rises linearly to 1", low=0)


@dataclass
class Linear:
    _target_: str = "limner.optim.Linear"
    warmup_epochs: float = key(0.0, "epochs over which the factor rises linearly to 1", low=0)
    end: float = key(0.0, "factor at the end of training", low=0)


@dataclass
class Steps:
    _target_: str = "limner.optim.Steps"
    warmup_epochs: float = key(0.0, "epochs over which the factor rises linearly to 1", low=0)
    at: list[float] = key([], "epochs at which the rate is multiplied by `factor`")
    factor: float = key(0.2, "multiplies the rate at each epoch of `at`", low=0)


@dataclass
class XEThenSCST:
    _target_: str = "limner.optim.XEThenSCST"
    warmup_epochs: float = key(0.0, "epochs over which the factor rises linearly to 1", low=0)
    start: float = key("???", "epoch at which SCST begins; the same as scst.start_epoch", low=0)
    every: float = key(3.0, "cross-entropy: epochs between two multiplications by `factor`", low=1e-6)
    factor: float = key(0.8, "cross-entropy: multiplies the rate after every `every` epochs", low=0)
    rl_factor: float = key(0.1, "SCST: constant factor on the base rate", low=0)


# --- trainer, logger, callbacks, paths ---


@dataclass
class Trainer:
    max_epochs: int = key(30, "passes over the training data", low=1)
    accelerator: str = key("auto", "where to compute", choices=("auto", "cpu", "gpu", "mps"))
    devices: Any = key(
        1, "processes a machine, one a device; auto: all devices; torchrun and srun decide it themselves"
    )
    num_nodes: int = key(1, "machines; torchrun and srun decide it themselves", low=1)
    strategy: str = key("auto", "how several processes train: ddp, or fsdp (gradients, optimiser divided among them)",
                        choices=("auto", "ddp", "fsdp"))  # fmt: skip
    precision: str = key("32-true", "arithmetic of the forward pass",
                         choices=("32-true", "bf16-mixed", "16-mixed", "64-true"))  # fmt: skip
    threads: int | None = key(None, "threads a process computes with; null: what torch chooses")
    gradient_clip_val: float | None = key(None, "largest gradient (its norm or value); null: no clipping", low=0)
    gradient_clip_algorithm: str = key("norm", "clip the global norm, or each value", choices=("norm", "value"))
    accumulate_grad_batches: int = key(1, "batches whose gradients make one optimiser step", low=1)
    check_val_every_n_epoch: int = key(1, "epochs between two validations", low=1)
    limit_train_batches: float = key(1.0, "share (<= 1.0) or number of training batches an epoch", low=0)
    limit_val_batches: float = key(1.0, "share (<= 1.0) or number of validation batches", low=0)
    log_every_n_steps: int = key(50, "optimiser steps between two logged lines", low=1)
    deterministic: bool = key(False, "only algorithms that repeat bit by bit (slower on a GPU; the CPU repeats anyway)")
    detect_anomaly: bool = key(False, "stop at the operation that made a NaN gradient (slow)")
    profiler: str | None = key(None, "where the time goes, printed at the end",
                               choices=(None, "simple", "advanced"))  # fmt: skip
    progress_bar: bool = key(True, "draw a progress bar on a terminal")


@dataclass
class Logger:
    wandb: bool = key(True, "log to wandb beside metrics.jsonl, which is always written")
    mode: str = key("offline", "online, offline (sync later with `wandb sync`) or disabled",
                    choices=("online", "offline", "disabled"))  # fmt: skip
    project: str = key("limner", "wandb project")
    entity: str | None = key(None, "wandb team or user")
    group: str | None = key(None, "wandb group: jobs of a sweep stand together")
    tags: list[str] = key([], "wandb tags")
    examples: int = key(16, "items in wandb's table of examples, with picture, regions and attention; 0: none", low=0)
    examples_each_validation: bool = key(
        False, "also make that table after each validation, which predicts a batch more"
    )
    artifacts: bool = key(False, "keep the model package as a wandb artifact")


@dataclass
class Callbacks:
    monitor: str = key("val/score", "metric that picks the best epoch (and the objective of a sweep)")
    mode: str = key("max", "is a larger or a smaller value better", choices=("max", "min"))
    patience: int | None = key(
        None, "epochs without a better score before training stops; null: never stops early", low=1
    )
    save_every_steps: int | None = key(
        None, "also write last.ckpt each so many steps; null: only after each epoch", low=1
    )
    save_every_minutes: float | None = key(10.0, "also write last.ckpt each so many minutes; null: never", low=0)


@dataclass
class Paths:
    data: str = key("data", "folder of the data sets")
    outputs: str = key("outputs", "folder of the run folders")
    cache: str = key("outputs/.cache", "folder of parsed files; may be deleted at any time")
    run: str | None = key(None, "this run's folder; null: OUTPUTS/NAME/DATE-TIME, made anew")
