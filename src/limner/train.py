"""`limner train`: compose -> run folder -> fit -> package -> evaluate; returns the objective."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from limner import preflight
from limner.errors import UserError
from limner.run import RunFolder, make_run_folder, open_run, write_json
from limner.schema.check import check

if TYPE_CHECKING:
    from limner.checkpoints import Checkpoints


def main(overrides: list[str], config_dirs: list[str]) -> int:
    """Runs one training; the exit code: 0 done, 2 the user's error, 1 ours, 128 + signal when it was stopped."""
    config, run = start(overrides, config_dirs)
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("RANK", "0")) == 0
    if not first:
        return child(config, run)
    run.write_status("running")
    print(f"run: {shown(run.path)}", flush=True)
    try:
        objective = fit(config, run)
    except UserError as error:
        run.write_status("failed", exit_code=error.exit_code, reason=str(error))
        raise
    except BaseException as error:
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else None)
        if isinstance(error, SystemExit):  # Lightning's answer to a second Ctrl-C
            code = 130
        if code is not None:
            run.write_status("stopped", exit_code=code, reason=str(error) or "interrupted")
            resume = f"limner train resume={shown(run.path)}"
            print(f"stopped ({error or 'interrupted'}); continue exactly here with: {resume}", file=sys.stderr)
            return code
        (run.path / "error.txt").write_text(traceback.format_exc())
        run.write_status("failed", exit_code=1, reason=f"{type(error).__name__}: {error}")
        print(f"failed; the traceback is in {shown(run.path)}/error.txt", file=sys.stderr)
        raise
    run.write_status("done", exit_code=0, objective=objective)
    return 0


def child(config: DictConfig, run: RunFolder) -> int:
    """A process that Lightning started: it trains, the first process reports."""
    try:
        fit(config, run)
    except BaseException as error:
        if getattr(error, "exit_code", None) is None:
            raise
        if isinstance(error, UserError):
            return error.exit_code
        return 0  # stopped by a signal, as the first process was: anything else would make Lightning kill that one
    return 0


def start(overrides: list[str], config_dirs: list[str]) -> tuple[DictConfig, RunFolder]:
    """The checked configuration and its run folder: a new one, or the one to resume."""
    resume = [o.partition("=")[2] for o in overrides if o.startswith("resume=")]
    if resume and resume[-1] not in ("", "null"):
        rest = [o for o in overrides if not o.startswith("resume=")]
        return resumed(resume[-1], rest)
    config = preflight.compose("train", overrides, config_dirs)
    return config, make_run_folder(config, ["limner", "train", *map(shlex.quote, overrides)])


def resumed(path: str, overrides: list[str]) -> tuple[DictConfig, RunFolder]:
    """The saved configuration of a run, with values changed on the command line (`trainer.max_epochs=20`)."""
    run = open_run(path)
    config = OmegaConf.load(run.config)
    assert isinstance(config, DictConfig)
    for text in overrides:
        key, _, value = text.partition("=")
        if OmegaConf.select(config, key, default=...) is ... or isinstance(OmegaConf.select(config, key), DictConfig):
            raise UserError(f"{text}: resume= continues the saved configuration; only existing single keys can change")
        OmegaConf.update(config, key, OmegaConf.create(f"v: {value}").v)
    config.resume = str(run.path)
    check("train", config)
    if not run.last.is_file():
        raise UserError(f"{path}: there is no checkpoints/last.ckpt to continue from; start again: see command.txt there")
    os.environ["LIMNER_RUN"] = str(run.path)
    return config, run


def quiet() -> None:
    """Keeps Lightning's tips and torch's notices off the screen; what limner has to say it prints itself."""
    import pytorch_lightning  # noqa: F401 - its import sets the levels that are changed here

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
    warnings.filterwarnings("ignore", module=r"lightning_fabric\..*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec.*")


def fit(config: DictConfig, run: RunFolder) -> float:
    """Trains, writes the package of the best epoch, evaluates it; returns the objective.

    Returns:
        The best value of `callbacks.monitor`.
    """
    quiet()
    import pytorch_lightning as pl
    import torch

    from limner import build
    from limner.checkpoints import Checkpoints
    from limner.loggers import JsonLines

    pl.seed_everything(config.seed, verbose=False)
    data = build.build_data(config)
    data.prepare()
    model = build.build_model(config, data)
    task = build.build_task(config, data, model)
    trainer = build.build_trainer(config, run)
    checkpoint = None
    if config.resume:
        checkpoint = str(run.last)
        saved = torch.load(run.last, map_location="cpu", weights_only=True, mmap=True)
        check_resumed(saved, data, run)
        for logger in trainer.loggers:
            if isinstance(logger, JsonLines):
                logger.rewind(saved["global_step"])
    begin = time.perf_counter()
    with contextlib.suppress(AttributeError):
        print(data.summary(), flush=True) if trainer.is_global_zero else None
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    best = next(c for c in trainer.callbacks if isinstance(c, Checkpoints))  # type: ignore[attr-defined]
    finish(config, run, task, data, trainer, best, time.perf_counter() - begin)
    return best.best if best.best is not None else math.nan


def check_resumed(saved: dict[str, Any], data: Any, run: RunFolder) -> None:
    """Refuses to continue on other data than the run began with."""
    before, now = saved.get(type(data).__qualname__, {}).get("data_fingerprint"), data.fingerprint()
    if before is not None and before != now:
        changed = [name for name in now if before.get(name) != now[name]]
        raise UserError(f"{shown(run.path)}: the data changed since the run stopped ({', '.join(changed)}): start anew")


def finish(
    config: DictConfig, run: RunFolder, task: Any, data: Any, trainer: Any, best: Checkpoints, seconds: float
) -> None:
    """After the last epoch: best weights -> package -> test -> result.json, and the next commands."""
    import torch

    from limner import build
    from limner.evaluate import save_evaluation, table

    if run.best.is_file():
        state = torch.load(run.best, map_location="cpu", weights_only=True)["state_dict"]
        task.load_state_dict(state)
    split = config.data.get("test") if config.test_after_fit else None
    metrics: dict[str, float] = {}
    if split is not None:
        task.detailed = True
        data.use(task, split)
        trainer.test(task, dataloaders=data.loader(split), verbose=False)
        metrics = {f"{split}/{name}": value for name, value in task.scores.items()}
    if not trainer.is_global_zero:
        return
    if best.best is not None:
        metrics[config.callbacks.monitor] = best.best
    build.save_package(run.package, config, data, task, metrics)
    if split is not None:
        save_evaluation(run.path / "eval" / split, task, data, split)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in metrics.items() if k.startswith(f"{split}/")}, trainer.global_step)
    write_json(run.path / "result.json", {"objective": best.best, "epoch": best.best_epoch, "metrics": metrics})
    print(f"trained in {seconds:,.0f} s; best {config.callbacks.monitor} {best.best} in epoch {epoch(best)}")
    if split is not None:
        print(table(split, task.scores, len(task.last_rows)))
    print(f"model:    {shown(run.package)}\nevaluate: limner evaluate run={shown(run.path)} split={config.data.select}")
    print(f"report:   limner report {shown(run.path)}", flush=True)


def epoch(best: Checkpoints) -> str:
    return "-" if best.best_epoch is None else str(best.best_epoch + 1)


def shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
