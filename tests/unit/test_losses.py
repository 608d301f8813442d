"""Losses against their formulas, entry by entry; sums and counts add up over any split of a batch."""

from __future__ import annotations

import math

import pytest
import torch

from limner.losses import Loss, hard_bce, soft_bce, softmax_ce, softmax_kl

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-30.0, 40.0, 0.0], [0.1, 0.2, 0.3]], dtype=torch.float64)
SCORES = torch.tensor([[0.3, 1.0, 0.0], [0.0, 0.6, 0.6], [0.0, 0.0, 0.0]], dtype=torch.float64)


def bce(x, s):
    """-s log(p) - (1 - s) log(1 - p) with p = sigmoid(x), written so that it holds for any x."""
    return max(x, 0.0) - x * s + math.log1p(math.exp(-abs(x)))


def log_softmax(row):
    top = max(row)
    total = top + math.log(sum(math.exp(x - top) for x in row))
    return [x - total for x in row]


def test_soft_bce():
    p = 1 / (1 + math.exp(-0.5))
    assert bce(0.5, 0.3) == pytest.approx(-0.3 * math.log(p) - 0.7 * math.log(1 - p), rel=1e-12)
    want = sum(bce(x, s) for row, scores in zip(LOGITS.tolist(), SCORES.tolist()) for x, s in zip(row, scores))
    loss = soft_bce(LOGITS, SCORES)
    assert loss.count == 3
    assert loss.total.item() == pytest.approx(want, rel=1e-12)
    assert loss.mean.item() == pytest.approx(want / 3, rel=1e-12)
    published = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, SCORES) * LOGITS.shape[1]
    assert loss.mean.item() == pytest.approx(published.item(), rel=1e-12)


def test_hard_bce_takes_the_first_best_answer_and_none_without_scores():
    hard = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.float64)
    assert hard_bce(LOGITS, SCORES).total == soft_bce(LOGITS, hard).total


def test_softmax_ce():
    want = -sum(
        s * x for row, scores in zip(LOGITS.tolist(), SCORES.tolist()) for x, s in zip(log_softmax(row), scores)
    )
    assert softmax_ce(LOGITS, SCORES).total.item() == pytest.approx(want, rel=1e-12)


def test_softmax_kl_is_zero_at_the_target_and_skips_questions_without_scores():
    target = SCORES[0] / SCORES[0].sum()
    exact = torch.log(target.clamp(min=1e-300))[None]
    assert softmax_kl(exact, SCORES[:1]).total.item() == pytest.approx(0.0, abs=1e-12)
    want = sum(
        s / sum(scores) * (math.log(s / sum(scores)) - x)
        for row, scores in zip(LOGITS.tolist(), SCORES.tolist())
        for x, s in zip(log_softmax(row), scores)
        if s
    )
    assert softmax_kl(LOGITS, SCORES).total.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("loss", [soft_bce, hard_bce, softmax_ce, softmax_kl])
def test_a_split_batch_adds_up_and_gradients_are_finite(loss):
    whole = loss(LOGITS, SCORES)
    parts = [loss(LOGITS[:1], SCORES[:1]), loss(LOGITS[1:], SCORES[1:])]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert sum(part.count for part in parts) == whole.count
    logits = LOGITS.bfloat16().requires_grad_()
    made = loss(logits, SCORES.float())
    assert made.total.dtype == torch.float32
    made.mean.backward()
    assert logits.grad.isfinite().all()


def test_empty_loss_has_mean_zero():
    assert Loss(torch.tensor(0.0), 0).mean == 0
    assert soft_bce(LOGITS[:0], SCORES[:0]).mean == 0
