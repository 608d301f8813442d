"""Weight normalisation against PyTorch's, activations against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from limner.errors import UserError
from limner.models.layers import MLP, Layer, WeightNormLinear, activate, linear, set_weight, width


def test_weight_norm_is_that_of_torch_with_one_scale():
    ours = WeightNormLinear(5, 3).double()
    with torch.no_grad():
        ours.weight_g.fill_(0.7)
    theirs = weight_norm(nn.Linear(5, 3).double(), dim=None)
    state = ours.state_dict()
    assert list(state) == ["bias", "weight_g", "weight_v"]
    assert state["weight_g"].shape == ()
    renamed = {"bias": state["bias"]}
    renamed |= {f"parametrizations.weight.original{i}": state[f"weight_{part}"] for i, part in enumerate("gv")}
    theirs.load_state_dict(renamed)
    x = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-14, rtol=0)
    ours(x).pow(3).sum().backward()
    theirs(x).pow(3).sum().backward()
    pair = theirs.parametrizations.weight
    torch.testing.assert_close(ours.weight_g.grad, pair.original0.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(ours.weight_v.grad, pair.original1.grad, atol=1e-12, rtol=0)


def test_weight_norm_starts_as_the_plain_layer_and_passes_gradcheck():
    layer = WeightNormLinear(4, 6)
    torch.testing.assert_close(layer.weight, layer.weight_v)
    v = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    g = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def scaled(v, g):
        layer = WeightNormLinear(2, 3).double()
        del layer.weight_v, layer.weight_g
        layer.weight_v, layer.weight_g = v, g
        return layer.weight

    assert torch.autograd.gradcheck(scaled, (v, g))


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda a, b: a.clamp(min=0)),
        ("tanh", lambda a, b: a.tanh()),
        ("elu", lambda a, b: torch.where(a > 0, a, a.exp() - 1)),
        ("glu", lambda a, b: a * b.sigmoid()),
        ("gated_tanh", lambda a, b: a.tanh() * b.sigmoid()),
    ],
)
def test_activations(name, formula):
    a, b = torch.randn(2, 3, 4, dtype=torch.float64)
    x = torch.cat((a, b), dim=-1) if width(name) == 2 else a
    torch.testing.assert_close(activate(name, x), formula(a, b))
    layer = Layer(4, 7, activation=name)
    assert layer(torch.randn(2, 3, 4)).shape == (2, 3, 7)


def test_unknown_activation_names_the_choices():
    with pytest.raises(UserError, match=r"'swish'.*relu, gated_tanh"):
        Layer(2, 2, activation="swish")


@pytest.mark.parametrize("normed", [True, False])
def test_set_weight(normed):
    layer, matrix = linear(3, 2, weight_norm=normed), torch.arange(6.0).view(2, 3)
    set_weight(layer, matrix)
    torch.testing.assert_close(layer.weight, matrix)
    with pytest.raises(UserError, match=r"found shape \(3, 2\), expected \(2, 3\)"):
        set_weight(layer, matrix.t())


def test_set_weight_refuses_what_weight_norm_cannot_say():
    with pytest.raises(UserError, match="every value is zero"):
        set_weight(WeightNormLinear(3, 2), torch.zeros(2, 3))


def test_mlp_drops_only_while_training_and_trains_after_relu():
    mlp = MLP(4, 64, 3, dropout=0.5)
    x = torch.randn(2, 4)
    assert not torch.equal(mlp(x), mlp(x))
    mlp(x).sum().backward()  # in-place dropout after a ReLU would fail here
    mlp.eval()
    assert torch.equal(mlp(x), mlp.output(mlp.hidden(x)))
