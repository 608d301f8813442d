"""`limner evaluate`: one model or an ensemble on one split, on any number of processes; rows, metrics, submission."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from limner import preflight
from limner.errors import UserError
from limner.files import write_json
from limner.metrics import rows as rows_of
from limner.overrides import change
from limner.paths import shown
from limner.processes import end_children, end_with_parent, started_by_lightning
from limner.run import open_run
from limner.schema import schema_for
from limner.schema.check import missing_files, one_split, splits, typed
from limner.schema.older import fill


def main(overrides: list[str], config_dirs: list[str]) -> int:
    """Evaluates and prints a table; the exit code.

    `data=GROUP` evaluates on another data set; `data.KEY=VALUE` alone changes the one the model was trained on, and
    `task.KEY=VALUE` how it is scored.
    """
    chosen = any(text.startswith("data=") for text in overrides)
    changed = ("task.",) if chosen else ("task.", "data.")
    changes = [text for text in overrides if text.startswith(changed)]
    config = preflight.compose("evaluate", [text for text in overrides if text not in changes], config_dirs)
    folders = [open_run(config.run).package] if config.run else names(config.model)
    described = fill(OmegaConf.create(package_config(folders[0])))
    if chosen and config.get("data") is not None:
        described.data = OmegaConf.to_container(config.data, resolve=True)
    for text in changes:
        change(described, text, whole="the model was trained with other keys")
    there = splits(described.data)
    if there is not None and config.split not in there:
        known = ", ".join(there) or "none: say what to evaluate on with data=NAME"
        raise UserError(f"split={config.split}: the data have {known}")
    if config.get("decode") is not None:
        described.decode = OmegaConf.to_container(config.decode, resolve=True)
    for group in ("data", "task"):
        schema = schema_for(described[group], group)
        raise_faults(typed(schema, described[group], f"{group}.") if schema else [])
    raise_faults(missing_files(one_split(described.data, config.split)))
    if started_by_lightning():
        end_with_parent()
    out = Path(config.out) if config.out else default_out(folders) / config.split
    run(config, described, folders, out)
    return 0


def raise_faults(faults: Iterable[str]) -> None:
    if found := list(faults):
        raise UserError("; ".join(found))


def default_out(folders: list[Path]) -> Path:
    """`eval/` in the run folder that a package lies in, else in the package; an ensemble's has a name of its own."""
    first = folders[0].absolute()
    home = first.parent if (first.parent / "config.yaml").is_file() else first
    return home / ("eval" if len(folders) == 1 else f"eval-ensemble-of-{len(folders)}")


def names(model: Any) -> list[Path]:
    return [Path(model)] if isinstance(model, str) else [Path(folder) for folder in model]


def package_config(folder: Path) -> dict[str, Any]:
    """The training configuration a package keeps."""
    path = folder / "model.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a model package (no model.json); a finished run has one in RUN/package")
    try:
        config = json.loads(path.read_text(encoding="utf-8")).get("config")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}); copy the package again") from None
    if not config:
        raise UserError(f"{path}: has no training configuration; say what to evaluate on with data=...")
    return config


def run(config: DictConfig, described: DictConfig, folders: list[Path], out: Path) -> dict[str, float]:
    """Evaluates packages on a split and writes `out`; returns the metrics."""
    from limner import build, inference
    from limner.train import quiet
    from limner.weights import package

    quiet()
    packages = [package.read(folder) for folder in folders]
    one_model = inference.module_for(packages[0].meta.get("task")).one_model
    data = build.build_data(
        OmegaConf.create({"data": one_split(described.data, config.split)}), vocabulary=packages[0].vocab
    )
    data.prepare()
    for each in packages:
        data.expect(each)
    described.optim = described.scst = None  # a reward of one's own need not be there any more
    task = build.build_task(described, data, one_model(packages))
    task.trained_as([each.meta for each in packages])
    task.detailed = True
    data.use(task, config.split)
    trainer = build.build_trainer(config)
    data.trainer = trainer  # says how many processes share the work
    try:
        trainer.test(task, dataloaders=data.loader(config.split), verbose=False)
    except BaseException:
        end_children(trainer)
        raise
    if not trainer.is_global_zero:
        return task.scores
    save_evaluation(out, task, data, config.split)
    print(table(config.split, task.scores, len(task.last_rows)))
    if config.submission:
        print(f"submission: {shown(data.write_submission(out / 'submission.json', config.split, task.last_rows))}")
    print(f"rows:    {shown(out)}/rows.jsonl.gz\nmetrics: {shown(out)}/metrics.json", flush=True)
    return task.scores


def save_evaluation(out: Path, task: Any, data: Any, split: str) -> None:
    """Writes rows.jsonl.gz and metrics.json (with everything the official metric reports)."""
    rows_of.write(out / "rows.jsonl.gz", data.with_truth(task.last_rows, split))
    write_json(out / "metrics.json", {"split": split, "items": len(task.last_rows), **task.details()})


def table(split: str, scores: Mapping[str, float], items: int) -> str:
    """The metrics of a split as lines of text."""
    if not scores:
        return f"{split}: {items:,} items, no annotations to score them with"
    lines = [f"{split}: {items:,} of {items:,} items"]
    lines += [f"  {name:<22} {value:7.2f}" for name, value in scores.items()]
    return "\n".join(lines)
