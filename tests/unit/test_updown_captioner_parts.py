"""The captioner's own kernels: exact gradients, whatever the sizes of the pieces they work in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from limner.models import captioner_attention, captioner_ledger, captioner_words
from limner.models.captioner_attention import RegionLedger, pool, scores
from limner.models.captioner_embedding import EmbeddingLedger, embed
from limner.models.captioner_ledger import LinearLedger, linear_map
from limner.models.captioner_lstm import lstm_step
from limner.models.captioner_packing import pack
from limner.models.captioner_regions import box_geometry
from limner.models.captioner_words import word_layer_log_probs, word_loss
from limner.models.dropout import dropped
from limner.models.regions import group


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a row or two, as there are many with real sizes."""
    monkeypatch.setitem(captioner_words.ROWS, "cpu", 2)
    monkeypatch.setattr(captioner_attention, "CHUNK", {"cpu": 24})
    monkeypatch.setattr(captioner_ledger, "ROWS", 3)


@pytest.mark.usefixtures("small_pieces")
def test_lstm_and_linear_maps():
    """Two steps whose weights are shared, with rows that leave between them, equal to torch's LSTM."""
    cell = torch.nn.LSTMCell(5, 3).double()

    def ours(x, y, weight_ih, weight_hh, bias):
        ledger = LinearLedger({"y": (0, 0, 2), "x": (0, 2, 5), "h": (1, 0, 3)}, weight_ih, weight_hh)
        handle = ledger.share(weight_ih, weight_hh)
        base = linear_map(handle, ledger, "y", y, bias)
        h, c = lstm_step(handle, ledger, base, None, {"x": x})
        rows = torch.tensor([2, 0, 2])
        again = linear_map(handle, ledger, "y", y[:3], bias.expand(7, -1), torch.tensor([6, 0, 0]))
        return lstm_step(handle, ledger, again, c[rows], {"x": x[:3], "h": h[rows]})

    def torchs(x, y, weight_ih, weight_hh, bias):
        h, c = torch.lstm_cell(torch.cat((y, x), 1), (y.new_zeros(4, 3),) * 2, weight_ih, weight_hh, bias, 0 * bias)
        rows = torch.tensor([2, 0, 2])
        return torch.lstm_cell(torch.cat((y, x), 1)[:3], (h[rows], c[rows]), weight_ih, weight_hh, bias, 0 * bias)

    inputs = (random(4, 3), random(4, 2), cell.weight_ih, cell.weight_hh, cell.bias_ih)
    for a, b in zip(ours(*inputs), torchs(*inputs)):
        assert (a - b).abs().max() < 1e-14
    assert gradcheck(ours, inputs)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (3,)])
def test_attention(frozen):
    """Scores and pooling of five captions of three images, one image without any; some inputs need no gradient."""
    image = torch.tensor([2, 0, 0, 2, 0])

    def ours(regions, keys, weight, query):
        ledger = RegionLedger(regions, keys, weight)
        handle = ledger.share(regions, keys, weight)
        found = scores(handle, ledger, query, image)
        return found, pool(handle, ledger, found.softmax(1), image, group(image, 3))

    inputs = [random(3, 4, 5), random(3, 4, 6), random(6), random(5, 6)]
    for number in frozen:
        inputs[number].requires_grad_(False)
    found, pooled = ours(*inputs)
    plain = torch.sigmoid(inputs[1][image] + inputs[3][:, None]) @ inputs[2]
    assert (found - plain).abs().max() < 1e-14
    assert (pooled - (plain.softmax(1)[:, None] @ inputs[0][image])[:, 0]).abs().max() < 1e-14
    assert gradcheck(ours, inputs)


def test_embedding():
    tokens = torch.tensor([1, 3, 1, 0])

    def ours(matrix):
        ledger = EmbeddingLedger(matrix)
        handle = ledger.share(matrix)
        return embed(handle, ledger, tokens, torch.float64).tanh(), embed(handle, ledger, tokens[:2], torch.float64)

    assert gradcheck(ours, (random(4, 3),))


FACTORS = torch.tensor([1.0, -2.0, 0.0, 0.5, 1.0], dtype=torch.float64)
TARGETS = torch.tensor([3, 0, 6, 6, 2])


@pytest.mark.parametrize("rows", [1, 2, 512])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("factors", [None, FACTORS])
def test_word_loss(monkeypatch, rows, smoothing, factors):
    monkeypatch.setitem(captioner_words.ROWS, "cpu", rows)

    def total(*inputs):
        return word_loss(*inputs, TARGETS, factors=factors, smoothing=smoothing).total

    inputs = (random(5, 4), random(7, 4), random(7))
    assert gradcheck(lambda *x: 3 * total(*x).square(), inputs)
    logp = F.linear(*inputs).log_softmax(1)
    wanted = torch.full((5, 7), smoothing / 6, dtype=torch.float64)
    wanted[torch.arange(5), TARGETS] = 1 - smoothing
    each = F.kl_div(logp, wanted, reduction="none").sum(1)
    weights = torch.ones(5, dtype=torch.float64) if factors is None else factors
    assert total(*inputs).item() == pytest.approx((each * weights).sum().item(), abs=1e-12)
    found = word_loss(*inputs, TARGETS, factors=factors, smoothing=smoothing).log_probs
    assert torch.allclose(found, logp.detach()[torch.arange(5), TARGETS], atol=1e-13)
    assert not found.requires_grad


@pytest.mark.usefixtures("small_pieces")
def test_log_probabilities_of_words():
    inputs = (random(5, 4), random(7, 4), random(7))
    expected = F.linear(*inputs).log_softmax(1)[torch.arange(5), TARGETS]
    assert torch.allclose(word_layer_log_probs(*inputs, TARGETS), expected, atol=1e-13)
    assert gradcheck(lambda *x: word_layer_log_probs(*x, TARGETS), inputs)


def test_word_loss_may_go_backwards_twice():
    inputs = (random(5, 4), random(7, 4), random(7))
    loss = word_loss(*inputs, TARGETS).total
    first = [g.clone() for g in torch.autograd.grad(2 * loss, inputs, retain_graph=True)]
    second = torch.autograd.grad(loss, inputs)
    for a, b in zip(first, second):
        assert torch.allclose(a, 2 * b, atol=1e-13)


def test_word_losses_without_tokens_or_gradients():
    hidden, weight, bias = random(0, 4), random(7, 4), random(7)
    none = torch.zeros(0, dtype=torch.long)
    word_loss(hidden, weight, bias, none).total.backward()
    assert not weight.grad.any()
    word_layer_log_probs(hidden, weight, bias, none).sum().backward()
    assert not weight.grad.any()
    with torch.no_grad():
        assert not word_loss(random(5, 4), weight, bias, TARGETS).total.requires_grad


def test_extreme_logits_stay_finite():
    """Probabilities that are 0 in float32 still have a log-probability and a gradient."""
    hidden = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]], requires_grad=True), torch.zeros(2, requires_grad=True)
    found = word_loss(hidden, weight, bias, torch.tensor([1, 1]))
    found.total.backward()
    assert found.log_probs.tolist() == [-400.0, 0.0]
    assert hidden.grad.tolist() == [[2.0], [0.0]]


def test_dropout_keeps_the_mean_and_leaves_evaluation_alone():
    torch.manual_seed(1)
    x = torch.full((300, 1000), 2.0)
    assert dropped(x, 0.3, False) is x
    assert dropped(x, 0.0, True) is x
    found = dropped(x, 0.3, True)
    assert found.unique().tolist() == pytest.approx([0, 2 / 0.7], rel=1e-4)  # the scale is that of the exact share
    assert abs((found == 0).float().mean() - 0.3) < 0.01


def test_packing_sorts_and_counts():
    found = pack(torch.tensor([2, 0, 3, 2]))
    assert found.order.tolist() == [2, 0, 3, 1]
    assert found.counts == [3, 3, 1]
    assert found.place.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert found.step.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_box_geometry():
    boxes = torch.tensor([[[10.0, 20.0, 60.0, 70.0]]])
    assert box_geometry(boxes, torch.tensor([[100.0, 200.0]]))[0, 0].tolist() == pytest.approx(
        [0.1, 0.1, 0.6, 0.35, 0.125]
    )
