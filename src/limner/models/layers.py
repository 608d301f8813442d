"""Linear layers, weight normalisation and the non-linear layers that Up-Down models are built of.

Anderson et al. 2018 ("Bottom-Up and Top-Down Attention", eq. 12-14) use gated tanh layers; later code uses ReLU, ELU
or GLU instead, with weight normalisation (Salimans and Kingma 2016) that has ONE scale for a whole layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from limner.errors import UserError

ACTIVATIONS = ("relu", "gated_tanh", "elu", "glu", "tanh")


def width(activation: str) -> int:
    """How many linear outputs one output of `activation` needs: 2 for the gated ones, else 1."""
    if activation not in ACTIVATIONS:
        raise UserError(f"activation={activation!r} is not known: choose one of {', '.join(ACTIVATIONS)}")
    return 2 if activation in ("gated_tanh", "glu") else 1


def activate(activation: str, x: Tensor) -> Tensor:
    """The non-linearity itself: `x (..., width * n)` to `(..., n)`.

    `gated_tanh` is tanh(a) * sigmoid(b) (paper, eq. 12-14), `glu` is a * sigmoid(b), with [a; b] = x.
    """
    if activation == "relu":
        return F.relu(x)
    if activation == "elu":
        return F.elu(x)
    if activation == "tanh":
        return torch.tanh(x)
    if activation == "glu":
        return F.glu(x, dim=-1)
    value, gate = x.chunk(2, dim=-1)
    return torch.tanh(value) * torch.sigmoid(gate)


class _Rescale(torch.autograd.Function):
    """w = g * v / ||v||_F. Its own backward, since autograd's makes twice the passes over the matrix."""

    @staticmethod
    def forward(ctx, v: Tensor, g: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(v)
        ctx.save_for_backward(v, g, norm)
        return v * (g / norm)

    @staticmethod
    @once_differentiable
    def backward(ctx, dw: Tensor) -> tuple[Tensor, Tensor]:
        v, g, norm = ctx.saved_tensors
        along = torch.dot(dw.reshape(-1), v.reshape(-1))
        dv = v * (along / norm**2)
        torch.sub(dw, dv, out=dv)
        return dv.mul_(g / norm), (along / norm).reshape(g.shape)


class WeightNormLinear(nn.Module):
    """A linear layer with weight g * v / ||v||_F: one scalar g for the layer.

    Parameters `weight_v (outputs, inputs)`, `weight_g ()` and `bias (outputs)`. At the start weight = weight_v.
    `weight` is the effective matrix, so that it can be split or shared as the weight of an `nn.Linear` can.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        start = nn.Linear(inputs, outputs)
        self.bias = nn.Parameter(start.bias.detach().clone())
        self.weight_g = nn.Parameter(start.weight.detach().norm())
        self.weight_v = nn.Parameter(start.weight.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The effective weight `(outputs, inputs)`."""
        return _Rescale.apply(self.weight_v, self.weight_g)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"inputs={self.weight_v.shape[1]}, outputs={self.weight_v.shape[0]}"


def linear(inputs: int, outputs: int, *, weight_norm: bool) -> nn.Linear | WeightNormLinear:
    """A linear layer, weight-normalised or plain."""
    return WeightNormLinear(inputs, outputs) if weight_norm else nn.Linear(inputs, outputs)


@torch.no_grad()
def set_weight(layer: nn.Linear | WeightNormLinear, matrix: Tensor) -> None:
    """Set the effective weight of `layer` to `matrix (outputs, inputs)`.

    Raises:
        UserError: if the shape differs, or every value is zero in a weight-normalised layer (it has no direction).
    """
    target = layer.weight_v if isinstance(layer, WeightNormLinear) else layer.weight
    if tuple(matrix.shape) != tuple(target.shape):
        raise UserError(f"initial weights: found shape {tuple(matrix.shape)}, expected {tuple(target.shape)}")
    if isinstance(layer, WeightNormLinear):
        if not matrix.any():
            raise UserError("initial weights: every value is zero, which weight normalisation cannot express")
        layer.weight_g.copy_(matrix.norm())
    target.copy_(matrix)


class Layer(nn.Module):
    """activation(W x + b): `(..., inputs)` to `(..., outputs)`. Gated activations get a matrix of 2 * outputs rows."""

    def __init__(self, inputs: int, outputs: int, *, activation: str = "relu", weight_norm: bool = True) -> None:
        super().__init__()
        self.activation = activation
        self.linear = linear(inputs, outputs * width(activation), weight_norm=weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.activation, self.linear(x))


class MLP(nn.Module):
    """A `Layer`, dropout and a linear output: `(..., inputs)` to `(..., outputs)`."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.hidden = Layer(inputs, hidden, activation=activation, weight_norm=weight_norm)
        # not in place: the backward of the activation needs its own output
        self.dropout = nn.Dropout(dropout)
        self.output = linear(hidden, outputs, weight_norm=weight_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.hidden(x)))
