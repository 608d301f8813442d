"""Losses of sampled captions, as sums and counts: the policy gradient and six losses over the samples of an image.

Every loss is `loss(samples, rewards, advantages) -> Loss`. Shapes: I images, n samples each, M = all tokens of all
samples, their ends included. The log-probabilities carry the gradient; rewards and advantages are numbers.

A structure loss takes an image's n samples for the candidates of a classifier whose right answer is the one with the
best reward (Edunov et al. 2018, "Classical Structured Prediction Losses for Sequence to Sequence Learning"); a sample's
score is the mean log-probability of its tokens, its cost the negative reward. Expected risk is not offered: the
published form, softmax(exp(sum log p)), compares probabilities that are all nearly 0, and its gradient is about 1e-7
of the others'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.losses import Loss


class TokenLogs(NamedTuple):
    """Log-probabilities of sampled captions.

    logp: (M,) of the tokens that were chosen, ends included. sample: (M,) int64, the sample i * n + k each belongs to.
    lengths: (I, n) tokens of each sample. `logp` has a gradient.
    """

    logp: Tensor
    sample: Tensor
    lengths: Tensor

    def sums(self) -> Tensor:
        """(I, n): the log-probability of each sample."""
        flat = self.logp.new_zeros(self.lengths.numel()).index_add(0, self.sample, self.logp)
        return flat.view_as(self.lengths)

    def means(self) -> Tensor:
        """(I, n): the mean log-probability of each sample's tokens."""
        return self.sums() / self.lengths.clamp(min=1)


def policy_gradient(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """-sum over tokens of log p x advantage: REINFORCE; its mean is over tokens (Rennie et al. 2017, eq. 8)."""
    return Loss(-(logs.sums() * advantages).sum(), len(logs.logp))


def policy_gradient_by_caption(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """The same with every caption of equal weight: -sum over captions of (mean log p) x advantage, mean over captions.

    Meshed-memory transformers (Cornia et al. 2020) are trained so.
    """
    return Loss(-(logs.means() * advantages).sum(), advantages.numel())


def best_of_n(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """Cross-entropy of each image's best sample; the mean is over the tokens of all samples, as published."""
    best = rewards.argmax(1, keepdim=True)
    return Loss(-logs.sums().gather(1, best).sum(), len(logs.logp))


def seqnll(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """-log softmax over an image's samples at the best one."""
    return _over_images(F.cross_entropy(logs.means(), rewards.argmax(1), reduction="sum"), rewards)


def max_margin(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """Half of the largest violation: the best sample should lead each other one by the difference of their rewards."""
    return _over_images(_violations(logs, rewards).amax(1).sum() / 2, rewards)


def multi_margin(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """The mean violation of the same margins, the best sample's own (0) included."""
    return _over_images(_violations(logs, rewards).mean(1).sum(), rewards)


def softmax_margin(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """`seqnll` with each sample's cost, scaled to [0, 1] within the image, added to its score."""
    cost = rewards.amax(1, keepdim=True) - rewards
    scaled = cost / cost.amax(1, keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)  # all alike: no cost at all
    return _over_images(F.cross_entropy(logs.means() + scaled, rewards.argmax(1), reduction="sum"), rewards)


def real_softmax_margin(logs: TokenLogs, rewards: Tensor, advantages: Tensor) -> Loss:
    """`softmax_margin` with the costs as they are."""
    return _over_images(F.cross_entropy(logs.means() - rewards, rewards.argmax(1), reduction="sum"), rewards)


def _violations(logs: TokenLogs, rewards: Tensor) -> Tensor:
    """(I, n): by how much a sample's score and margin exceed the best sample's score; 0 where they do not."""
    scores, best = logs.means(), rewards.argmax(1, keepdim=True)
    return F.relu(rewards.gather(1, best) - rewards + scores - scores.gather(1, best))


def _over_images(total: Tensor, rewards: Tensor) -> Loss:
    return Loss(total, len(rewards))


LOSSES: dict[str, Callable[[TokenLogs, Tensor, Tensor], Loss]] = {
    "policy_gradient": policy_gradient,
    "policy_gradient_by_caption": policy_gradient_by_caption,
    "best_of_n": best_of_n,
    "seqnll": seqnll,
    "max_margin": max_margin,
    "multi_margin": multi_margin,
    "softmax_margin": softmax_margin,
    "real_softmax_margin": real_softmax_margin,
}
USES_BASELINE = ("policy_gradient", "policy_gradient_by_caption")
