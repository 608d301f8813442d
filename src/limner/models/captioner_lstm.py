"""One step of an LSTM whose input is a sum of blocks, for a recurrence whose weights wait in a ledger."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limner.models.captioner_ledger import LinearLedger

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class _Step(torch.autograd.Function):
    """Hochreiter and Schmidhuber 1997 with a forget gate; gate rows in the order i, f, g, o, as in torch.

    Kept for the backward pass: the gates after their non-linearities, both cells and the inputs. tanh(c) is made
    again.
    """

    @staticmethod
    def forward(ctx, handle, ledger, names, base, cell, *inputs):
        gates = None
        for name, x in zip(names, inputs):
            weight = ledger.weight(name).t()
            gates = torch.addmm(base, x, weight) if gates is None else gates.addmm_(x, weight)
        gates = base.clone() if gates is None else gates
        gates = gates if gates.dtype == torch.float64 else gates.float()  # half precision is for matrix products only
        size = gates.shape[1] // 4
        gates[:, : 2 * size].sigmoid_()
        gates[:, 2 * size : 3 * size].tanh_()
        gates[:, 3 * size :].sigmoid_()
        i, f, g, o = gates.chunk(4, 1)
        new = i * g
        if cell is not None:
            new.addcmul_(f, cell)
        ctx.save_for_backward(gates, cell, new, *inputs)
        ctx.ledger, ctx.names, ctx.dtype = ledger, names, base.dtype
        ctx.set_materialize_grads(False)
        return (o * torch.tanh(new)).to(base.dtype), new

    @staticmethod
    @once_differentiable
    def backward(ctx, dh, dnew):
        gates, cell, new, *inputs = ctx.saved_tensors
        ledger, need = ctx.ledger, ctx.needs_input_grad
        i, f, g, o = gates.chunk(4, 1)
        dgates = torch.empty_like(gates)
        di, df, dg, do = dgates.chunk(4, 1)
        dc = dnew
        if dh is None:
            do.zero_()
        else:
            dh = dh.to(gates.dtype)
            tanh = torch.tanh(new)
            _sigmoid_backward(dh * tanh, o, grad_input=do)
            through = torch.ops.aten.tanh_backward(dh * o, tanh)
            dc = through if dc is None else through.add_(dc)
        if dc is None:
            return None, None, None, None, None, *(None for _ in inputs)
        _sigmoid_backward(dc * g, i, grad_input=di)
        _tanh_backward(dc * i, g, grad_input=dg)
        if cell is None:
            df.zero_()
        else:
            _sigmoid_backward(dc * cell, f, grad_input=df)
        dcell = dc * f if cell is not None and need[4] else None
        dgates = dgates.to(ctx.dtype)
        if need[0]:
            ledger.open()
            ledger.note(dgates, dict(zip(ctx.names, inputs)))
        dinputs = [
            torch.mm(dgates, ledger.weight(name)) if wanted else None for name, wanted in zip(ctx.names, need[5:])
        ]
        return dgates.new_zeros(()), None, None, dgates if need[3] else None, dcell, *dinputs


def lstm_step(
    handle: Tensor, ledger: LinearLedger, base: Tensor, cell: Tensor | None, inputs: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """One LSTM step: hidden state and cell, both `(n, H)`.

    Args:
        handle, ledger: the weights; `ledger` has a block `(4H, *)` for each of `inputs`.
        base: `(n, 4H)`, what is added to the gates: biases and parts of the input that were multiplied before.
        cell: `(n, H)`, or None for the zero cell at the start.
        inputs: block name -> `(n, *)`; the hidden state is one of them. Zero inputs are better left out.
    """
    return _Step.apply(handle, ledger, tuple(inputs), base, cell, *inputs.values())
