"""Several models that answer as one: the mean of their probabilities (paper, table 5: 30 models)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limner.models.updown_vqa import VQAOutput


class VQAEnsemble(nn.Module):
    """Averages the answer probabilities of VQA models that share words, answers and features.

    Args:
        models: the members, each `forward(feats, mask, image, tokens) -> VQAOutput`.
        softmax: answers exclude each other (softmax losses); else each has a probability of its own (sigmoid).
    """

    def __init__(self, models: Sequence[nn.Module], *, softmax: bool = False):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.softmax = softmax

    def forward(self, feats: Tensor, mask: Tensor, image: Tensor, tokens: Tensor) -> VQAOutput:
        """Logits (B,A) whose sigmoid or softmax is the mean probability; attention (B,R) is the members' mean."""
        outputs = [model(feats, mask, image, tokens) for model in self.models]
        kind = outputs[0].logits.device.type
        wide = torch.float32 if kind == "mps" else torch.float64  # Apple's GPUs have no float64
        logits = torch.stack([out.logits.to(wide) for out in outputs])
        if self.softmax:
            mean = torch.logsumexp(logits.log_softmax(-1), 0)
        else:
            # log p and log(1-p) of the mean, without leaving the logarithm: p may be 1e-20
            yes = torch.logsumexp(nn.functional.logsigmoid(logits), 0)
            mean = yes - torch.logsumexp(nn.functional.logsigmoid(-logits), 0)
        attention = torch.stack([out.attention for out in outputs]).mean(0)
        return VQAOutput(mean.to(outputs[0].logits.dtype), attention)
