"""Losses of sampled captions, as sums and counts: policy gradients, and losses that compare an image's samples.

Shapes: I images, n samples each, M = all tokens of all samples, their ends included. Log-probabilities carry the
gradient; rewards and advantages are numbers.

Policy gradients and best-of-n are sums of -log p with a factor a sample, so the word layer can make their gradient
while it has the logits. The structure losses take an image's n samples for the candidates of a classifier whose right
answer is the one with the best reward (Edunov et al. 2018, "Classical Structured Prediction Losses for Sequence to
Sequence Learning"); a sample's score is the mean log-probability of its tokens, its cost the negative reward. Expected
risk is not among them: as published, softmax(exp(sum log p)), it compares probabilities that are all nearly 0, and its
gradient is a millionth of the others'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.losses import Loss
from limner.models.captioner_words import word_layer_log_probs, word_loss
from limner.scst.samples import Samples, WordLayer

# --- sums of -log p with a factor a sample ---


class Factors(NamedTuple):
    """`values (I, n)`: multiply -log p of each token of a sample. `count`: what the sum is divided by."""

    values: Tensor
    count: int  # type: ignore[assignment]  # the method of the same name is of no use here


def policy_gradient(rewards: Tensor, advantages: Tensor, lengths: Tensor) -> Factors:
    """The advantage; the mean is over all tokens (REINFORCE; Rennie et al. 2017, eq. 8)."""
    return Factors(advantages, int(lengths.sum()))


def policy_gradient_by_caption(rewards: Tensor, advantages: Tensor, lengths: Tensor) -> Factors:
    """The advantage over the length: every caption has the same weight (Cornia et al. 2020, "Meshed-Memory")."""
    return Factors(advantages / lengths.clamp(min=1), lengths.numel())


def best_of_n(rewards: Tensor, advantages: Tensor, lengths: Tensor) -> Factors:
    """1 for each image's best sample, 0 for the others; the mean is over the tokens of all samples, as published."""
    best = rewards.argmax(1, keepdim=True)
    return Factors(torch.zeros_like(rewards).scatter(1, best, 1), int(lengths.sum()))


# --- losses over the scores of an image's samples: each is (scores (I, n), rewards (I, n)) -> sum over images ---


def seqnll(scores: Tensor, rewards: Tensor) -> Tensor:
    """-log softmax over the samples at the best one."""
    return F.cross_entropy(scores, rewards.argmax(1), reduction="sum")


def max_margin(scores: Tensor, rewards: Tensor) -> Tensor:
    """Half of the largest violation: the best sample should lead each other one by the difference of their rewards."""
    return violations(scores, rewards).amax(1).sum() / 2


def multi_margin(scores: Tensor, rewards: Tensor) -> Tensor:
    """The mean violation of the same margins, the best sample's own (0) included."""
    return violations(scores, rewards).mean(1).sum()


def softmax_margin(scores: Tensor, rewards: Tensor) -> Tensor:
    """`seqnll` with each sample's cost, scaled to 0..1 within the image, added to its score."""
    cost = rewards.amax(1, keepdim=True) - rewards
    scaled = cost / cost.amax(1, keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)  # all alike: no cost at all
    return seqnll(scores + scaled, rewards)


def real_softmax_margin(scores: Tensor, rewards: Tensor) -> Tensor:
    """`softmax_margin` with the costs as they are."""
    return seqnll(scores - rewards, rewards)


def violations(scores: Tensor, rewards: Tensor) -> Tensor:
    """(I, n): by how much a sample's score and margin exceed the best sample's score; 0 where they do not."""
    best = rewards.argmax(1, keepdim=True)
    return F.relu(rewards.gather(1, best) - rewards + scores - scores.gather(1, best))


FACTORS: dict[str, Callable[[Tensor, Tensor, Tensor], Factors]] = {
    "policy_gradient": policy_gradient,
    "policy_gradient_by_caption": policy_gradient_by_caption,
    "best_of_n": best_of_n,
}
STRUCTURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "seqnll": seqnll,
    "max_margin": max_margin,
    "multi_margin": multi_margin,
    "softmax_margin": softmax_margin,
    "real_softmax_margin": real_softmax_margin,
}
LOSSES = (*FACTORS, *STRUCTURES)
USE_BASELINE = ("policy_gradient", "policy_gradient_by_caption")


def loss_of(kind: str, samples: Samples, layer: WordLayer | nn.Linear, rewards: Tensor, advantages: Tensor) -> Loss:
    """The loss of samples.

    Args:
        kind: one of `LOSSES`.
        samples: with hidden states that carry the gradient.
        layer: the word layer, as `samples.as_drawn` makes it.
        rewards, advantages: `(I, n)`.
    """
    if kind in FACTORS:
        factors, count = FACTORS[kind](rewards, advantages, samples.lengths)
        each = factors.flatten()[samples.sample]
        total = word_loss(samples.hidden, layer.weight, layer.bias, samples.targets, factors=each).total
        return Loss(total, count)
    logp = word_layer_log_probs(samples.hidden, layer.weight, layer.bias, samples.targets)
    scores = logp.new_zeros(samples.lengths.numel()).index_add(0, samples.sample, logp).view_as(rewards)
    return Loss(STRUCTURES[kind](scores / samples.lengths.clamp(min=1), rewards.to(scores.dtype)), len(rewards))
