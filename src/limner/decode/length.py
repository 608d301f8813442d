"""Length normalisation: what a caption's summed log-probability is worth at its length (words and EOS)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

NORMS = ("none", "average", "wu")
Normalise = Callable[[Tensor, "int | Tensor"], Tensor]


def normaliser(name: str, alpha: float) -> Normalise:
    """`normalise(total, length) -> score`.

    `none`: the sum. `average`: sum / length. `wu`: sum / ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14).

    All three grow with the length at a fixed sum, since sums of log-probabilities are never positive and alpha is not
    negative. So `normalise(total, max_length)` bounds every score that a live beam with this total can reach: its
    total can only fall, and no length is kinder than the longest. Beam search stops early by that bound. (It holds in
    floating point too: adding a number that is not positive, and dividing by a larger one, are monotone when rounded.)
    """
    if name == "none":
        return lambda total, length: total
    if name == "average":
        return lambda total, length: total / length
    return lambda total, length: total / ((5 + length) / 6) ** alpha
