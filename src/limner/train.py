"""`limner train`: compose -> run folder -> fit -> package -> evaluate; returns the objective."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from limner import launchers, preflight
from limner.errors import UserError
from limner.files import disk_fault, write_json, write_whole
from limner.overrides import change
from limner.paths import shown
from limner.processes import Stopped, end_children, end_with_parent, number, started_by_lightning, stoppable
from limner.run import RUN_ENV, RunFolder, make_run_folder, open_run
from limner.schema.check import check
from limner.schema.older import fill
from limner.unfinished import AUTO, unfinished

if TYPE_CHECKING:
    from limner.checkpoints import Checkpoints


def main(overrides: list[str], config_dirs: list[str]) -> int:
    """Runs one training; the exit code: 0 done, 2 the user's error, 1 ours, 128 + signal when it was stopped."""
    config, run = start(overrides, config_dirs)
    if number() > 0:
        return child(config, run)
    run.write_status("running")
    print(f"run: {shown(run.path)}", flush=True)
    try:
        with stoppable():
            objective = fit(config, run)
    except UserError as error:
        ended(run, "failed", exit_code=error.exit_code, reason=str(error))
        raise
    except (Stopped, KeyboardInterrupt) as error:
        code, reason = getattr(error, "exit_code", 130), str(error) or "SIGINT"
        ended(run, "stopped", exit_code=code, reason=reason)
        again = f"continue exactly here with: limner train resume={shown(run.path)}"
        if not run.last.is_file():
            again = "nothing had been trained yet"
        print(f"stopped by {reason}; {again}", file=sys.stderr)
        if code == 128 + signal.SIGUSR1:
            print(requeued(overrides), end="", file=sys.stderr, flush=True)
        return code
    except BaseException as error:
        if fault := disk_fault(error):
            again = f"resume={shown(run.path)}" if run.last.is_file() else "again"
            full = UserError(f"{shown(run.path)}: cannot be written ({fault}); free space, then: limner train {again}")
            ended(run, "failed", exit_code=full.exit_code, reason=str(full))
            raise full from error
        write_whole(run.path / "error.txt", traceback.format_exc())
        run.write_status("failed", exit_code=1, reason=f"{type(error).__name__}: {error}")
        print(f"failed; the traceback is in {shown(run.path)}/error.txt", file=sys.stderr)
        raise
    finally:
        os.environ.pop(RUN_ENV, None)
    run.write_status("done", exit_code=0, objective=objective)
    return 0


def ended(run: RunFolder, state: str, **more: Any) -> None:
    """Writes how a run ended; where the disk is too full even for that, why it ended must still be told."""
    try:
        run.write_status(state, **more)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def requeued(overrides: list[str]) -> str:
    """Puts the Slurm job back into the queue when SIGUSR1 has announced its end; the line to print, or nothing.

    Not after SIGTERM: that is a person's scancel, or a preemption after which Slurm requeues by itself.
    """
    if launchers.job() is None:
        return ""
    if f"resume={AUTO}" not in overrides:
        return f"the job is not requeued: without resume={AUTO} it would begin anew\n"
    return f"{launchers.requeue()}\n"


def child(config: DictConfig, run: RunFolder) -> int:
    """A process beside the first: it trains, the first process reports, unless this one fails alone.

    Lightning ends the first process the hard way when a child has failed: the reason is written down before.
    """
    if started_by_lightning():
        end_with_parent()
    try:
        with stoppable():
            fit(config, run)
    except Stopped as error:
        # as the first process was; Lightning would kill that one if a process that it started ended with another code
        return 0 if started_by_lightning() else error.exit_code
    except UserError as error:
        ended(run, "failed", exit_code=error.exit_code, reason=str(error))
        raise
    except BaseException as error:
        name = f"error-{number()}.txt"
        write_whole(run.path / name, traceback.format_exc())
        if run.status()["state"] == "running":
            reason = f"process {number()}: {type(error).__name__}: {error}; see {name}"
            run.write_status("failed", exit_code=1, reason=reason)
        raise
    return 0


def start(overrides: list[str], config_dirs: list[str]) -> tuple[DictConfig, RunFolder]:
    """The checked configuration and its run folder: a new one, or the one to resume."""
    resume = [o.partition("=")[2] for o in overrides if o.startswith("resume=")]
    rest = [o for o in overrides if not o.startswith("resume=")]
    auto = bool(resume) and resume[-1] == AUTO
    if auto:
        config = preflight.compose("train", rest, config_dirs)
        found = unfinished(config)
        if found is not None:
            return resumed(str(found), [])
    elif resume and resume[-1] not in ("", "null"):
        return resumed(resume[-1], rest)
    else:
        config = preflight.compose("train", rest, config_dirs)
    return config, make_run_folder(config, ["limner", "train", *map(shlex.quote, overrides)], again=auto)


def resumed(path: str, overrides: list[str]) -> tuple[DictConfig, RunFolder]:
    """The saved configuration of a run, with values changed on the command line (`trainer.max_epochs=20`).

    The changed configuration takes the place of the saved one: the next resume continues with it.
    """
    run = open_run(path)
    config = OmegaConf.load(run.config)
    assert isinstance(config, DictConfig)
    fill(config)
    for text in overrides:
        change(config, text, whole="resume= continues the saved configuration")
    config.resume = None
    changed = OmegaConf.to_yaml(config, resolve=True)
    config.resume = str(run.path)
    check("train", config)
    if not run.last.is_file():
        raise UserError(f"{path}: there is no checkpoints/last.ckpt to continue from; start again: see its command.txt")
    refuse_running(run)
    if number() == 0 and overrides:
        write_whole(run.config, changed)
    os.environ[RUN_ENV] = str(run.path)
    return config, run


def refuse_running(run: RunFolder) -> None:
    """Two processes that write one run folder would damage it."""
    if number() == 0 and run.state() == "running":
        status = run.status()
        raise UserError(f"{shown(run.path)}: the run is still going on (process {status['pid']} on {status['host']})")


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


def fit(config: DictConfig, run: RunFolder) -> float | None:
    """Trains, writes the package of the best epoch, evaluates it.

    Returns:
        The objective: the best value of `callbacks.monitor`; None when nothing was validated.
    """
    quiet()
    import pytorch_lightning as pl
    import torch

    from limner import build
    from limner.bad_batch import BadBatch
    from limner.checkpoint_files import read_newest
    from limner.checkpoints import Checkpoints

    pl.seed_everything(config.seed, verbose=False)
    start = build.start_of(config)
    anew = config.get("weights_vocabulary") == "remap"
    data = build.build_data(config, **({"vocabulary": start.vocab} if start and not anew else {}))
    data.prepare()
    model = build.build_model(config, data)
    if start is not None:
        data.expect(start)
        build.start_from(model, build.remapped(start, data, model, config) if anew else start, config)
    task = build.build_task(config, data, model)
    task.bad_batch = BadBatch(run.path)
    trainer = build.build_trainer(config, run)
    checkpoint = str(run.last) if config.resume else None
    if checkpoint:
        check_resumed(read_newest(run.last, repair=trainer.is_global_zero), data, run)
    begin = time.perf_counter()
    if trainer.is_global_zero:
        print(data.summary(), flush=True)
    try:
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        best = next(c for c in trainer.callbacks if isinstance(c, Checkpoints))  # type: ignore[attr-defined]
        finish(config, run, task, data, trainer, best, time.perf_counter() - begin)
    except BaseException as error:
        end_children(trainer, patience=20 if getattr(error, "together", False) else 0)
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return best.best


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
    from limner import build
    from limner.checkpoint_files import read_checkpoint
    from limner.evaluate import save_evaluation, table
    from limner.strategies import Sharded

    tester = trainer
    if isinstance(trainer.strategy, Sharded):  # its weights are in parts: whole ones are evaluated and packaged
        task, tester = build.build_task(config, data, build.build_model(config, data)), build.build_trainer(config)
        data.trainer = tester
        task.load_state_dict(read_checkpoint(run.last)["state_dict"])
    if best.best is not None:
        advice = f": train further, for a better epoch: limner train resume={shown(run.path)} trainer.max_epochs=N"
        task.load_state_dict(read_checkpoint(run.best, next_step=advice)["state_dict"])
    split = config.data.get("test") if config.test_after_fit else None
    metrics: dict[str, float] = {}
    if split is not None:
        task.detailed = True
        data.use(task, split)
        tester.test(task, dataloaders=data.loader(split), verbose=False)
        metrics = {f"{split}/{name}": value for name, value in task.scores.items()}
    if not trainer.is_global_zero:
        return
    if best.best is not None:
        metrics[config.callbacks.monitor] = best.best
    build.save_package(run.package, config, data, task, metrics)
    if split is not None:
        save_evaluation(run.path / "eval" / split, task, data, split)
        for logger in trainer.loggers:
            logger.log_metrics({f"test/{name}": value for name, value in task.scores.items()}, trainer.global_step)
    result = {"objective": best.best, "mode": best.mode, "epoch": best.best_epoch, "metrics": metrics}
    write_json(run.path / "result.json", result)
    build.finish_loggers(config, run, trainer, task.last_rows, result)
    reached = "nothing validated"
    if best.best is not None and best.best_epoch is not None:
        reached = f"best {best.monitor} {best.best:.2f} in epoch {best.best_epoch + 1}"
    print(f"trained in {seconds:,.0f} s; {reached}")
    if split is not None:
        print(table(split, task.scores, len(task.last_rows)))
    print(f"model:    {shown(run.package)}\nevaluate: limner evaluate run={shown(run.path)} split={config.data.select}")
    print(f"report:   limner report {shown(run.path)}", flush=True)
