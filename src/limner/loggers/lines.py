"""Files of logged lines: `metrics.jsonl`, which a resumed run continues to the byte, and `speed.jsonl`."""

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
from limner.reports.source import read_metrics


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
    def rewind_to(self, step: int) -> None:
        """Cuts off the lines of later steps, and one that was not finished: the resumed run writes them anew."""
        kept = [line for line in read_metrics(self.path) if line.get("step", 0) <= step]
        if self.path.is_file():
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept))

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
