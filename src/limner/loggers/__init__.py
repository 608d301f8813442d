"""Where metrics go: `metrics.jsonl` and `speed.jsonl` always, wandb beside them."""

from limner.loggers.lines import JsonLines
from limner.loggers.wandb_run import WandbRun

__all__ = ["JsonLines", "WandbRun"]
