"""Random draws that belong to an image: numbers by (seed, key, sample, step), and tokens drawn with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from limner.decode.top import best

BLOCK = 64  # columns whose weights are summed first


def uniforms(seed: int, keys: Tensor, samples: int, steps: int) -> Tensor:
    """Uniform numbers in [0,1) that depend on (seed, key, sample, step) alone, not on what else is in the batch.

    A counter-based generator: the four numbers are mixed one after the other by the finaliser of SplitMix64 (Steele,
    Lea and Flood 2014), and the top 53 bits are the number.

    Args:
        seed: any int.
        keys: (I,) int64, such as image ids.

    Returns:
        (steps, I x samples) float64 on the CPU; the columns of an image stand together.
    """
    word = np.uint64
    state = _mixed(np.full(1, seed % 2**64, dtype=word))
    state = _mixed(state + keys.cpu().numpy().astype(word))[:, None]  # [i, 1]
    state = _mixed(state + np.arange(samples, dtype=word)).ravel()  # [i * samples]
    state = _mixed(state + np.arange(steps, dtype=word)[:, None])  # [steps, i * samples]
    return torch.from_numpy((state >> word(11)).astype(np.float64) * 2.0**-53)


def _mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64: one step of its sequence and the finaliser; arithmetic modulo 2^64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(scores: Tensor, uniform: Tensor) -> Tensor:
    """A column of each row with probability softmax(scores), by the inverse of its cumulative distribution.

    Sums run over blocks first and then in double inside one block: as exact as a cumulative sum of the whole row in
    double, at a third of the time. A column of -inf is never drawn, unless all are.

    Args:
        scores: (N,W), -inf allowed.
        uniform: (N,) in [0,1).

    Returns:
        (N,) int64.
    """
    rows, width = scores.shape
    blocks = -(-width // BLOCK)
    wide = torch.float32 if scores.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    weight = scores.new_zeros(rows, blocks * BLOCK)
    peak = scores.amax(1, keepdim=True)
    torch.exp(scores - peak.masked_fill(peak == -torch.inf, 0), out=weight[:, :width])
    parts = weight.unflatten(1, (blocks, BLOCK))
    upto = parts.sum(2).to(wide).cumsum(1)  # [n, blocks]
    target = uniform.to(scores.device, wide)[:, None] * upto[:, -1:]
    block = _first_above(upto, target)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), 0)
    inside = parts[torch.arange(rows, device=scores.device), block[:, 0]].to(wide).cumsum(1)  # [n, BLOCK]
    return (block * BLOCK + _first_above(inside, target - before))[:, 0]


def _first_above(upto: Tensor, target: Tensor) -> Tensor:
    """(N,1): the first column whose cumulative sum is above the target; rounding never leads past the last rise."""
    last = (upto < upto[:, -1:]).sum(1, keepdim=True)
    return torch.minimum((upto <= target).sum(1, keepdim=True), last)


def nucleus(scores: Tensor, top_p: float, first: int = 256) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of each row that together reach `top_p` of its probability, with the one that crosses it.

    Sorts only as many columns as needed: `first`, then four times as many, until every row has enough.

    Returns:
        Scores (N,k), sorted, -inf beyond the nucleus; and their columns (N,k).
    """
    total = scores.logsumexp(1, keepdim=True)
    k = first
    while True:
        value, column = best(scores, k)
        share = (value - total).exp()
        before = share.cumsum(1) - share
        if k >= scores.shape[1] or bool((before[:, -1] >= top_p).all()):
            return value.masked_fill(before >= top_p, -torch.inf), column
        k *= 4
