"""Losses of visual dialog, as sums and counts (see `limner.losses`); their means are the published losses.

Murahari et al. 2020, "Large-scale Pretraining for Visual Dialog", section 4; the loss of a step is the sum of the
three means. Everything is computed in float32 or better.

Shapes: M masked words, V words, K masked regions, C classes, N sequences, I dialogs, A options.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limner.losses import Loss, full

ALIGNED, RANDOM = 0, 1  # classes of the alignment: text and image (question and answer) belong together, or do not


def masked_words(logits: Tensor, targets: Tensor) -> Loss:
    """Cross-entropy of masked words: `logits (M, V)`, `targets (M,)` int64. The mean is over masked words."""
    return Loss(F.cross_entropy(full(logits), targets, reduction="sum"), len(targets))


def masked_regions(logits: Tensor, targets: Tensor) -> Loss:
    """KL(target || softmax(logits)) of masked regions: `logits (K, C)`, `targets (K, C)` what the detector said.

    The mean is over regions. A padded region, whose target is all zero, adds nothing but is counted, as published.
    """
    logits = full(logits)
    return Loss(F.kl_div(F.log_softmax(logits, 1), targets.to(logits.dtype), reduction="sum"), len(targets))


def masked_features(predicted: Tensor, targets: Tensor) -> Loss:
    """Squared error of masked regions' features, its mean over numbers: `predicted`, `targets (K, C)`, C being D.

    The published variant `predict_feature`. The mean is over regions, padded ones included.
    """
    predicted = full(predicted)
    error = F.mse_loss(predicted, targets.to(predicted.dtype), reduction="sum")
    return Loss(error / max(targets.shape[1], 1), len(targets))


def alignment(logits: Tensor, labels: Tensor) -> Loss:
    """Cross-entropy of `logits (N, 2)` with `labels (N,)`: 0 (`ALIGNED`) for an answer or caption that belongs."""
    return Loss(F.cross_entropy(full(logits), labels, reduction="sum"), len(labels))


def dense_relevance(logits: Tensor, relevance: Tensor) -> Loss:
    """KL(softmax(relevance) || softmax(logits[..., 0])) over the options of each dialog; the mean is over dialogs.

    Relevances lie in [0, 1], so that the target is nearly flat: this is the published loss of dense finetuning.

    Args:
        logits: `(I, A, 2)` alignment of each option. relevance: `(I, A)`, of the same options.
    """
    logits = full(logits)
    target = relevance.to(logits.dtype).softmax(1)
    return Loss(F.kl_div(F.log_softmax(logits[..., ALIGNED], 1), target, reduction="sum"), len(logits))
