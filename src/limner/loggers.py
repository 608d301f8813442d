"""Where metrics go: `metrics.jsonl` always, wandb beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from limner.errors import UserError
from limner.files import write_whole
from limner.run import RunFolder


class JsonLines(Logger):
    """Appends one JSON object a logged step: `{"step": 120, "epoch": 1, "train/loss": 0.53, "lr": 0.002}`.

    A resumed run continues the file; lines written after the checkpoint, which the new run repeats, are cut off first.
    Numbers that are not finite become null: JSON has no NaN.
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

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @rank_zero_only
    def rewind(self, size: int) -> None:
        """Cuts off what was written after the first `size` bytes."""
        if self.size() > size:
            os.truncate(self.path, size)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        line = {"step": step, **{k: v if math.isfinite(v) else None for k, v in metrics.items()}}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            advice = f"free space, then: limner train resume={self.path.parent}"
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); {advice}") from None

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration stands in config.yaml."""


def wandb_logger(config: Any, run: RunFolder, settings: dict[str, Any]) -> Logger:
    """Lightning's wandb logger. Its run id is kept in the run folder, so that a resumed run stays one run.

    Args:
        config: the `logger` group.
        run: its folder gets `wandb/` and `wandb_id.txt`.
        settings: the configuration to show in wandb.
    """
    import uuid

    from pytorch_lightning.loggers import WandbLogger

    os.environ.setdefault("WANDB_SILENT", "true" if config.mode == "offline" else "false")  # its banner is long

    id_file = run.path / "wandb_id.txt"
    if not id_file.is_file():
        write_whole(id_file, uuid.uuid4().hex[:12] + "\n")
    logger = WandbLogger(
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
    logger._wandb_init.pop("anonymous", None)  # Lightning 2.6 always passes it; wandb 0.31 warns at each start
    return logger
