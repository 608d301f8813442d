"""Random draws that belong to an image: numbers by (seed, key, sample, step), and tokens drawn with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from limner.decode.top import best, log_total, pieces

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

    Sums run over blocks of columns first and then inside one block, in double: as exact as a cumulative sum of the
    whole row in double, in a third of the time. A column of -inf is never drawn, unless all are.

    Args:
        scores: (N,W), -inf allowed.
        uniform: (N,) in [0,1).

    Returns:
        (N,) int64.
    """
    uniform = uniform.to(_wide(scores.device)).to(scores.device)
    return torch.cat([_draw(*part) for part in zip(pieces(scores), pieces(uniform))])


def _draw(scores: Tensor, uniform: Tensor) -> Tensor:
    rows, width = scores.shape
    blocks = -(-width // BLOCK)
    wide = _wide(scores.device)
    peak = scores.amax(1, keepdim=True)
    weight = scores.new_zeros(rows, blocks * BLOCK)
    torch.exp(scores - peak.masked_fill(peak == -torch.inf, 0), out=weight[:, :width])
    parts = weight.unflatten(1, (blocks, BLOCK))
    upto = parts.sum(2).to(wide).cumsum(1)  # [n, blocks]
    target = uniform[:, None] * upto[:, -1:]
    block = _first_above(upto, target)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), 0)
    inside = parts[torch.arange(rows, device=scores.device), block[:, 0]].to(wide).cumsum(1)  # [n, BLOCK]
    return (block * BLOCK + _first_above(inside, target - before))[:, 0]


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64


def _first_above(upto: Tensor, target: Tensor) -> Tensor:
    """(N,1): the first column whose cumulative sum is above the target; rounding never leads past the last rise."""
    last = (upto < upto[:, -1:]).sum(1, keepdim=True)
    return torch.minimum((upto <= target).sum(1, keepdim=True), last)


def nucleus(scores: Tensor, top_p: float, first: int = 256) -> Tensor:
    """Scores with -inf for all but the likeliest tokens that together reach `top_p` of a row's probability.

    The token that crosses `top_p` belongs to them; of equal tokens the lower id comes first. Looks at the `first`
    likeliest tokens, and sorts only the rows in which these are not enough.

    Args:
        scores: (N,W), -inf allowed.
        top_p: above 0, at most 1.
    """
    total = log_total(scores)
    value, column, enough = _edge(scores, total, top_p, first)
    rest = (~enough).nonzero().flatten()
    if len(rest):
        value[rest], column[rest], _ = _edge(scores[rest], total[rest], top_p, scores.shape[1])
    columns = torch.arange(scores.shape[1], device=scores.device)
    inside = (scores > value) | ((scores == value) & (columns <= column))
    return scores.masked_fill(~inside, -torch.inf)


def _edge(scores: Tensor, total: Tensor, top_p: float, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Score and column (N,1) of the last token of the nucleus, if (N,) it is one of the k likeliest."""
    value, column = best(scores, k)
    share = (value - total).exp()
    before = share.cumsum(1) - share
    last = ((before < top_p).sum(1, keepdim=True) - 1).clamp(min=0)
    return value.gather(1, last), column.gather(1, last), before[:, -1] >= top_p
