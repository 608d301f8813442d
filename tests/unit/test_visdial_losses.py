"""Losses of visual dialog against their definitions written out."""

from __future__ import annotations

import math

import pytest
import torch

from limner.visdial_losses import alignment, dense_relevance, masked_features, masked_regions, masked_words

LOGITS = [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def test_masked_words():
    loss = masked_words(torch.tensor(LOGITS).double(), torch.tensor([2, 0]))
    expected = -math.log(softmax(LOGITS[0])[2]) - math.log(softmax(LOGITS[1])[0])
    assert loss.total.item() == pytest.approx(expected, abs=1e-14)
    assert loss.count == 2


def test_masked_regions_count_padding():
    targets = torch.tensor([[0.25, 0.5, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64)
    loss = masked_regions(torch.tensor(LOGITS).double(), targets)
    expected = sum(t * math.log(t / p) for t, p in zip([0.25, 0.5, 0.25], softmax(LOGITS[0])))
    assert loss.total.item() == pytest.approx(expected, abs=1e-14)
    assert loss.count == 2
    assert loss.mean.item() == pytest.approx(expected / 2, abs=1e-14)


def test_masked_features():
    targets = torch.tensor([[0.0, 0.0, 0.5], [1.0, 1.0, 1.0]], dtype=torch.float64)
    loss = masked_features(torch.tensor(LOGITS).double(), targets)
    assert loss.mean.item() == pytest.approx((1 + 4 + 0 + 1 + 4 + 0) / 6, abs=1e-14)


def test_alignment():
    loss = alignment(torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([0, 1]))
    assert loss.total.item() == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(2)), abs=1e-14)
    assert loss.count == 2


def test_dense_relevance_sees_the_first_logit_of_every_option():
    relevance = [[0.0, 1.0, 0.2], [0.4, 0.4, 0.4]]
    logits = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = 0.0
    for row, goal in zip(logits[..., 0].tolist(), relevance):
        expected += sum(t * math.log(t / p) for t, p in zip(softmax(goal), softmax(row)))
    logits.requires_grad_()
    loss = dense_relevance(logits, torch.tensor(relevance, dtype=torch.float64))
    assert loss.total.item() == pytest.approx(expected, abs=1e-14)
    assert loss.count == 2
    loss.total.backward()
    assert not logits.grad[..., 1].any()
    assert logits.grad[..., 0].abs().min() > 0


@pytest.mark.parametrize("loss", [masked_words, alignment])
def test_nothing_masked(loss):
    found = loss(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, dtype=torch.long))
    assert found.mean.item() == 0
    found.mean.backward()


@pytest.mark.parametrize("loss", [masked_regions, masked_features])
def test_no_region_masked(loss):
    assert loss(torch.zeros(0, 3), torch.zeros(0, 3)).mean.item() == 0


def test_half_precision_is_computed_in_full():
    logits = torch.tensor([[60000.0, 0.0]]).half()
    assert alignment(logits, torch.tensor([1])).total.item() == pytest.approx(60000, rel=1e-3)
    assert alignment(logits, torch.tensor([1])).total.dtype == torch.float32
