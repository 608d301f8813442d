"""Cross-entropy of captions: sums and counts over tokens, whatever the batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from limner.caption_losses import cross_entropy
from limner.models.captioner_packing import PackedStates

TOKENS = torch.tensor([[5, 0, 1, 4, 6], [5, 2, 4, 6, 6]])


def packed() -> PackedStates:
    torch.manual_seed(1)
    caption, step = torch.tensor([0, 1, 0, 1, 0]), torch.tensor([0, 0, 1, 1, 2])
    return PackedStates(torch.randn(5, 3, dtype=torch.float64), caption, step, torch.zeros(5, 2))


def test_cross_entropy_is_a_sum_over_real_tokens():
    states, layer = packed(), torch.nn.Linear(3, 5).double()
    targets = torch.tensor([0, 2, 1, 4, 4])
    assert states.targets(TOKENS).tolist() == targets.tolist()
    loss = cross_entropy(states, layer, TOKENS)
    expected = F.cross_entropy(layer(states.hidden), targets, reduction="sum")
    assert loss.count == 5
    assert loss.total.item() == pytest.approx(expected.item(), abs=1e-12)
    loss.mean.backward()
    mine = layer.weight.grad.clone()
    layer.zero_grad()
    (expected / 5).backward()
    assert torch.allclose(mine, layer.weight.grad, atol=1e-13)


def test_a_smoothed_target_is_met_by_the_smoothed_distribution():
    """The divergence is 0 where the model predicts 1 - s and s / (W - 1), and above 0 elsewhere."""
    states, layer = packed(), torch.nn.Linear(3, 5).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([0.7, 0.075, 0.075, 0.075, 0.075]).log())
    zeros = torch.zeros_like(TOKENS)
    assert cross_entropy(states, layer, zeros, smoothing=0.3).total.item() == pytest.approx(0, abs=1e-6)
    assert cross_entropy(states, layer, zeros + 1, smoothing=0.3).total.item() > 1


def test_no_tokens_no_loss():
    states = PackedStates(torch.zeros(0, 3), *(torch.zeros(0, dtype=torch.long),) * 2, torch.zeros(0, 2))
    layer = torch.nn.Linear(3, 5)
    loss = cross_entropy(states, layer, TOKENS)
    assert (loss.total.item(), loss.count) == (0.0, 0)
    loss.mean.backward()
    assert not layer.weight.grad.any()
