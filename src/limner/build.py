"""From a configuration to objects: the only place that instantiates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from limner import __version__, launchers, strategies
from limner.callbacks import EpochLines, MetricLines, Speed, StepSeed
from limner.checkpoint_files import WholeFiles
from limner.checkpoints import Checkpoints
from limner.code_version import code_version
from limner.errors import UserError, listing
from limner.loggers.examples import Examples
from limner.loggers.lines import JsonLines
from limner.loggers.names import task_of
from limner.loggers.wandb_run import WandbRun
from limner.processes import number
from limner.reports.source import Source
from limner.run import RunFolder
from limner.schema.check import package_of
from limner.signals import StopOnSignal
from limner.tasks.base import Task
from limner.weights import package
from limner.weights.manifest import UNKNOWN


def parts(node: DictConfig) -> Any:
    """The constructor of a config node with the node's arguments; objects are passed when it is called.

    Passed through `instantiate` itself, dataclasses and dicts would be turned into config nodes.
    """
    return instantiate(node, _partial_=True, _convert_="all")


def build_data(config: DictConfig, **known: Any) -> Any:
    """The data module: Lightning's, with what `limner.data.vqa` adds.

    Args:
        config: its `data` group.
        known: vocabularies of a trained model, instead of new ones.
    """
    return parts(config.data)(**known)


def build_model(config: DictConfig, data: Any) -> torch.nn.Module:
    """The model with the sizes the data say, word and answer vectors put in."""
    model = parts(model_settings(config))(**data.sizes())
    data.initialise(model)
    return model


def model_settings(config: DictConfig) -> DictConfig:
    """The `model` group, without dropout when the run wants none."""
    if config.get("dropout", True):
        return config.model
    none = {name: 0.0 for name in config.model if str(name).startswith("dropout")}
    return OmegaConf.merge(config.model, none)  # type: ignore[return-value]


def start_of(config: DictConfig) -> package.Package | None:
    """The package that training starts from, when `weights` names one."""
    return package.read(package_of(config.weights)) if config.get("weights") else None


def remapped(start: package.Package, data: Any, model: torch.nn.Module, config: DictConfig) -> package.Package:
    """The package with the vocabulary of the data; new words begin as the model drew them, or with their GloVe."""
    from limner.weights.remap import remap

    found, changed = remap(start, data.vocab(), fresh=model.state_dict())
    if number() == 0:
        print(f"weights={config.weights}: {'; '.join(changed) or 'the vocabulary is that of the data'}", flush=True)
    return found


def start_from(model: torch.nn.Module, start: package.Package, config: DictConfig) -> None:
    """Puts the weights of a package into a model of the same sizes.

    What a model names in `ANEW` (outputs whose size the data decide) may differ; it then begins as it was drawn, and a
    line says so. What it names in `UNSEEN` are arguments that no shape shows, such as heads: they must be equal, too.

    Raises:
        UserError: one line with every weight that does not fit, or every such argument.
    """
    given, kind = config.weights, type(model)
    mine, theirs = model.state_dict(), start.model.state_dict()
    wrong = [name for name in {**mine, **theirs} if name not in mine or name not in theirs]
    wrong += [name for name in mine if name in theirs and mine[name].shape != theirs[name].shape]
    anew = [name for name in wrong if name in mine and name in theirs and name.startswith(getattr(kind, "ANEW", ()))]
    if len(wrong) > len(anew):
        told = ", ".join(f"{key}={value}" for key, value in start.sizes.items())
        raise UserError(
            f"weights={given}: its model is not of these sizes ({listing(wrong)} differ); it was trained with {told}: "
            "set the group `model` alike"
        )
    unlike = [
        f"model.{key}={value} (here {config.model[key]})"
        for key, value in start.sizes.items()
        if key in getattr(kind, "UNSEEN", ()) and key in config.model and config.model[key] != value
    ]
    if unlike:
        raise UserError(f"weights={given}: its model was made with {', '.join(unlike)}: set the group `model` alike")
    if anew and number() == 0:
        print(f"weights={given}: {listing(anew)}: of another size there, begin anew", flush=True)
    model.load_state_dict({name: mine[name] if name in anew else tensor for name, tensor in theirs.items()})


def build_task(config: DictConfig, data: Any, model: torch.nn.Module) -> Task:
    """The task with its optimiser and schedule."""
    more = data.task_arguments()
    if config.get("decode") is not None:
        more["decode"] = parts(config.decode)()
    if config.get("scst") is not None:
        more["scst"] = parts(config.scst)()
    if config.get("optim") is not None:
        more |= {"optimizer": parts(config.optim), "schedule": parts(config.schedule)()}
    return parts(config.task)(model=model, **more)


def save_package(folder: Path, config: DictConfig, data: Any, task: Task, metrics: dict[str, float]) -> None:
    """Writes the task's model as a package."""
    sizes = {**OmegaConf.to_container(model_settings(config), resolve=True), **data.sizes()}  # type: ignore[dict-item]
    meta = {
        **task.describe(),
        "limner": __version__,
        "features": data.features_rule(),
        "metrics": metrics,
        "measured": task.details().get("measured"),
        "licence": config.data.get("licence") or UNKNOWN,
        "config": OmegaConf.to_container(config, resolve=True),
    }
    package.save(folder, package.Package(model=task.model, sizes=sizes, vocab=data.vocab(), meta=meta))


def build_trainer(config: DictConfig, run: RunFolder | None = None, **more: Any) -> pl.Trainer:
    """Lightning's trainer.

    Args:
        config: its `trainer` group; with a run also `logger`, `callbacks`, `seed`.
        run: where checkpoints and logs go; None for an evaluation, which leaves neither.
    """
    settings = dict(config.trainer)
    threads, bar, strategy = (settings.pop(name) for name in ("threads", "progress_bar", "strategy"))
    settings["devices"], settings["num_nodes"] = launchers.shape(settings["devices"], settings["num_nodes"])
    if threads:
        torch.set_num_threads(threads)
    for name in ("limit_train_batches", "limit_val_batches"):  # 1.0 is a share, 2 is a count
        value = settings[name]
        settings[name] = float(value) if value <= 1 else int(value)
    settings["enable_progress_bar"] = bar and sys.stderr.isatty()
    callbacks: list[pl.Callback] = list(more.pop("callbacks", []))
    loggers: Any = False
    if run is not None:
        loggers = build_loggers(config, run)
        callbacks += [*build_callbacks(config, run), *build_examples(config, run, loggers)]
    try:
        if strategy != "auto" or settings["devices"] != 1 or settings["num_nodes"] > 1:
            more["strategy"] = strategies.chosen(strategy, precision=settings["precision"], trains=run is not None)
        trainer = pl.Trainer(
            **settings,
            **more,
            logger=loggers,
            callbacks=callbacks,
            plugins=[WholeFiles(), launchers.cluster()],
            enable_checkpointing=False,  # limner.checkpoints does it
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # our order already knows its rank: wrapped again it would be sharded twice
        )
    except (MisconfigurationException, ValueError) as error:
        first = " ".join(str(error).split())
        raise UserError(f"trainer: {first}; on a machine without a GPU: trainer=cpu or trainer=ddp_cpu") from None
    # its handlers save nothing, end with code 0, and talk to other processes in the middle of whatever these are doing
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def build_callbacks(config: DictConfig, run: RunFolder) -> list[pl.Callback]:
    """Seeds, metric lines, checkpoints, signals. They are called in this order: what is saved has been logged."""
    chosen = config.callbacks
    return [
        StepSeed(config.seed),
        Speed(JsonLines(run.speed), every=config.trainer.log_every_n_steps),
        MetricLines(JsonLines(run.metrics), every=config.trainer.log_every_n_steps),
        EpochLines(monitor=chosen.monitor),
        Checkpoints(
            run.checkpoints,
            monitor=chosen.monitor,
            mode=chosen.mode,
            every_steps=chosen.save_every_steps,
            every_minutes=chosen.save_every_minutes,
            patience=chosen.patience,
        ),
        StopOnSignal(run.checkpoints),
    ]


def build_loggers(config: DictConfig, run: RunFolder) -> list[Any]:
    """metrics.jsonl, and wandb when it is wanted."""
    loggers: list[Any] = [JsonLines(run.metrics)]
    if config.logger.wandb and config.logger.mode != "disabled":
        wandb = WandbRun(
            config.logger,
            run,
            {**OmegaConf.to_container(config, resolve=True), "code": code_version()},  # type: ignore[dict-item]
            monitor=config.callbacks.monitor,
            mode=config.callbacks.mode,
            task=task_of(str(config.task.get("_target_"))),
        )
        loggers.append(wandb)
    return loggers


def build_examples(config: DictConfig, run: RunFolder, loggers: list[Any]) -> list[pl.Callback]:
    """The table of examples, when there is a wandb run to show it and some are wanted."""
    if not config.logger.examples:
        return []
    source = Source(str(run.path), run=run.path, config=OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    return [
        Examples(
            wandb,
            source,
            count=config.logger.examples,
            split=config.data.select,
            each=config.logger.examples_each_validation,
            tested=config.test_after_fit and config.data.get("test") is not None,
        )
        for wandb in loggers
        if isinstance(wandb, WandbRun)
    ]


def finish_loggers(config: DictConfig, run: RunFolder, trainer: Any, rows: list[Any], result: dict[str, Any]) -> None:
    """What is shown once everything is done, on the first process: examples, the best result, the package.

    Args:
        rows: of the last evaluation. result: as result.json.
    """
    split = config.data.get("test") if config.test_after_fit else None
    for callback in trainer.callbacks:
        if isinstance(callback, Examples):
            callback.at_end(trainer, rows, split)
    for logger in trainer.loggers:
        if isinstance(logger, WandbRun):
            logger.finish(result, run.package if config.logger.artifacts else None)
