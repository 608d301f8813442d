"""Config of the captioning task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limner.schema.keys import key


@dataclass
class CaptioningTask:
    _target_: str = "limner.tasks.captioning.CaptioningTask"
    label_smoothing: float = key(0.0, "share of probability that cross-entropy spreads over all other words",
                                 low=0, high=0.99)  # fmt: skip
    scheduled_sampling: Any = key(None, "{start, every, step, max}: cross-entropy reads its own words with probability "
                                  "step x floor((epoch - start) / every), at most max; null: never")  # fmt: skip
    java: bool = key(True, "METEOR and SPICE in evaluations, when Java and the extra `metrics` are there")
