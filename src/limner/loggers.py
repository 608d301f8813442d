"""Where metrics go: `metrics.jsonl` always, wandb beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from limner.run import RunFolder, write_whole


class JsonLines(Logger):
    """Appends one JSON object a logged step: `{"step": 120, "epoch": 1, "train/loss": 0.53}`.

    A resumed run continues the file; lines of steps after the checkpoint, which the new run repeats, are removed first.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        return self.path

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Removes the lines of steps after `step` (the checkpoint a resumed run starts from)."""
        if self.path.is_file():
            kept = [line for line in self.path.read_text().splitlines() if json_step(line) <= step]
            write_whole(self.path, "".join(line + "\n" for line in kept))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        line = {"step": step, **{k: float(v) for k, v in metrics.items()}}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration stands in config.yaml."""


def json_step(line: str) -> float:
    """The step of a metrics line; infinity for a line that a killed run left half written."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl, whole ones only."""
    return [json.loads(line) for line in path.read_text().splitlines() if json_step(line) < float("inf")]


def wandb_logger(config: Any, run: RunFolder, settings: dict[str, Any]) -> Logger:
    """Lightning's wandb logger. Its run id is kept in the run folder, so that a resumed run stays one run.

    Args:
        config: the `logger` group.
        run: its folder gets `wandb/` and `wandb_id.txt`.
        settings: the configuration to show in wandb.
    """
    import uuid

    from pytorch_lightning.loggers import WandbLogger

    id_file = run.path / "wandb_id.txt"
    if not id_file.is_file():
        write_whole(id_file, uuid.uuid4().hex[:12] + "\n")
    return WandbLogger(
        name="/".join(run.path.parts[-2:]),
        save_dir=str(run.path),
        id=id_file.read_text().strip(),
        resume="allow" if config.mode == "online" else None,
        offline=config.mode == "offline",
        project=config.project,
        entity=config.entity,
        group=config.group,
        tags=list(config.tags),
        config=settings,
        mode=config.mode,
    )
