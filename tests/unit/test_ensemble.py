"""The mean of several models' probabilities, also where they are too small for a float."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.models.ensemble import VQAEnsemble
from limner.models.updown_vqa import VQAOutput


class Fixed(nn.Module):
    """Always the same output."""

    def __init__(self, logits: torch.Tensor, attention: torch.Tensor):
        super().__init__()
        self.output = VQAOutput(logits, attention)

    def forward(self, feats, mask, image, tokens):
        return self.output


def together(*logits: torch.Tensor, softmax: bool) -> VQAOutput:
    members = [Fixed(one, torch.full((len(one), 3), float(k))) for k, one in enumerate(logits)]
    return VQAEnsemble(members, softmax=softmax)(*[torch.empty(0)] * 4)


@pytest.mark.parametrize("softmax", [False, True])
def test_probabilities_are_averaged(softmax):
    torch.manual_seed(0)
    logits = [torch.randn(4, 5) * 3 for _ in range(3)]

    def probability(x):
        return x.double().softmax(1) if softmax else x.double().sigmoid()

    made = together(*logits, softmax=softmax)
    assert made.logits.dtype == torch.float32
    want = torch.stack([probability(one) for one in logits]).mean(0)
    torch.testing.assert_close(probability(made.logits), want, atol=1e-7, rtol=0)
    assert (want - probability(torch.stack(logits).mean(0))).abs().max() > 0.01  # not the mean of the logits
    assert torch.equal(made.attention, torch.full((4, 3), 1.0))


def test_one_member_stays_as_it_is():
    logits = torch.tensor([[-3.0, 0.5, 90.0]])
    torch.testing.assert_close(together(logits, softmax=False).logits, logits)


@pytest.mark.parametrize("softmax", [False, True])
def test_extreme_logits_stay_finite_and_ordered(softmax):
    """float32 sigmoids are all 0 or 1 here; the order of the answers must survive."""
    one = torch.tensor([[-200.0, -300.0, -1000.0, -9000.0], [9000.0, 1000.0, 300.0, 200.0]])
    made = together(one, one - 7, softmax=softmax).logits
    assert made.isfinite().all()
    assert (made.diff(dim=1) < 0).all()


def test_mean_of_tiny_and_huge_probabilities():
    """sigmoid: p = 1/2 (e^-300 + e^-400), so the logit is -300 - log 2; and the same mirrored."""
    made = together(torch.tensor([[-300.0, 300.0]]), torch.tensor([[-400.0, 400.0]]), softmax=False).logits
    want = 300 + torch.log(torch.tensor(2.0))
    torch.testing.assert_close(made, torch.stack([-want, want])[None])


def test_half_precision_members():
    logits = torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16)
    made = together(logits, logits, softmax=False).logits
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, logits)
