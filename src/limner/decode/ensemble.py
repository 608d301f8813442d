"""Several models that speak as one: a step that averages their predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limner.decode.state import Step
from limner.errors import UserError

AVERAGES = ("probability", "log_probability")


def ensemble(
    members: Sequence[tuple[Step, Any]], *, weights: Sequence[float] | None = None, average: str = "probability"
) -> tuple[Step, tuple]:
    """One step and one state for several models that share a vocabulary; each keeps its own state.

    Args:
        members: `(step, state)` of each model, such as `(model.step, model.begin(feats, mask))`, for the same images.
        weights: one a member, positive; None: equal. They are divided by their sum.
        average: of `probability` (arithmetic mean, as published captioners do), or of `log_probability` (geometric
            mean: a word must be likely for all).

    Returns:
        The step, whose logits are the log of the mean, and the state: what a decoder takes. Attention is the members'
        weighted mean, None unless all have it for the same number of regions.

    Raises:
        UserError: no members, weights that do not fit, models with different vocabularies.
    """
    count = len(members)
    weights = [1.0] * count if weights is None else list(weights)
    if not count:
        raise UserError("ensemble: no models given; expected at least one")
    if len(weights) != count or not all(0 < weight < math.inf for weight in weights):
        raise UserError(f"ensemble.weights={weights}: expected {count} positive numbers, one a model")
    if average not in AVERAGES:
        raise UserError(f"ensemble.average={average!r}: expected one of {', '.join(AVERAGES)}")
    shares = [weight / sum(weights) for weight in weights]
    steps = [step for step, _ in members]

    def step(tokens: Tensor, states: tuple) -> tuple[Tensor, tuple, Tensor | None]:
        outputs = [one(tokens, state) for one, state in zip(steps, states)]
        widths = [logits.shape[1] for logits, _, _ in outputs]
        if len(set(widths)) > 1:
            raise UserError(f"ensemble: the models predict {widths} tokens: they must share one vocabulary")
        mean: Tensor | None = None
        for (logits, _, _), share in zip(outputs, shares):
            logp = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
            if average == "log_probability":
                mean = logp * share if mean is None else mean + logp * share
            else:
                logp = logp + math.log(share)
                mean = logp if mean is None else torch.logaddexp(mean, logp)
        assert mean is not None
        seen = [attention for _, _, attention in outputs if attention is not None]
        attention = None
        if len(seen) == count and len({part.shape for part in seen}) == 1:
            attention = torch.stack([part * share for part, share in zip(seen, shares)]).sum(0)
        return mean, tuple(state for _, state, _ in outputs), attention

    return step, tuple(state for _, state in members)
