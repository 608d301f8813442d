"""Baselines: what a sampled caption's reward is compared with. The advantage is the reward less the baseline.

A baseline that does not depend on the sample itself leaves the expected gradient alone and takes noise out of it
(Williams 1992). Shapes: I images, n sampled captions each; all are plain NumPy arrays of float64.
"""

from __future__ import annotations

import numpy as np

BASELINES = ("greedy", "mean", "leave_one_out", "none")


def baseline(kind: str, rewards: np.ndarray, greedy: np.ndarray | None = None) -> np.ndarray:
    """The baseline of every sample.

    Args:
        kind: `greedy`: the reward of the caption that greedy decoding writes at test time (Rennie et al. 2017,
            eq. 9); `mean`: of all samples of the image, this one included (the release of Anderson et al. 2018);
            `leave_one_out`: of the image's other samples (Luo 2020, "A Better Variant of Self-Critical Sequence
            Training", eq. 5); `none`: 0.
        rewards: `(I, n)`; n > 1 for `leave_one_out`.
        greedy: `(I,)`, needed by `greedy` alone.

    Returns:
        `(I, n)`.
    """
    if kind == "greedy":
        assert greedy is not None
        return np.broadcast_to(greedy[:, None], rewards.shape)
    if kind == "mean":
        return np.broadcast_to(rewards.mean(1, keepdims=True), rewards.shape)
    if kind == "leave_one_out":
        return (rewards.sum(1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
    assert kind == "none", kind
    return np.zeros_like(rewards)
