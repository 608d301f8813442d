"""Recurrent networks over a trie of token sequences: no state is ever computed twice.

A recurrent state depends on the tokens read so far and on nothing else. So the distinct prefixes of a batch are the
nodes of a trie, one state a node, and sequences that begin alike share states:

    pad pad what color is        ->  root - pad - pad - what - color - is
    pad pad what color are                                         `-- are
    pad what is on the                      `-- what - is - on - the

With padding on the left, this also means that all sequences share one chain of pads. A step handles all nodes of one
depth. The backward pass adds the gradients of a node's children and makes the gradient of the recurrent weight with
one matrix product over all nodes, where a step-by-step pass would read and write that matrix once a step.

Shapes: B sequences, N nodes, H hidden, U rows of input gates; states have N + 1 rows, row 0 is the zero state (root).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Trie(NamedTuple):
    """The distinct prefixes of a batch, in order of depth.

    `token (N,)`: the last token of each prefix. `parent (N,)` and `leaf (B,)`: rows of the states, where node i has
    row i + 1 and row 0 is the empty prefix. `steps`: (first, last + 1) node of each depth.
    """

    token: Tensor
    parent: Tensor
    leaf: Tensor
    steps: list[tuple[int, int]]


def build(rows: Tensor, lengths: Tensor) -> Trie:
    """The trie of the first `lengths (B,)` tokens of each of `rows (B, T)` (integers from 0)."""
    span = int(rows.max()) + 1 if rows.numel() else 1
    leaf = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    active = torch.arange(len(rows), device=rows.device)
    tokens, parents, steps, first = [], [], [], 0
    for depth in range(rows.shape[1]):
        active = active[lengths[active] > depth]
        if not len(active):
            break
        keys, child = torch.unique(leaf[active] * span + rows[active, depth], return_inverse=True)
        leaf[active] = first + 1 + child
        tokens.append(keys % span)
        parents.append(keys // span)
        steps.append((first, first + len(keys)))
        first += len(keys)
    empty = leaf[:0]
    return Trie(torch.cat(tokens or [empty]), torch.cat(parents or [empty]), leaf, steps)


def gru(gates: Tensor, row: Tensor, weight_hh: Tensor, bias_n: Tensor, trie: Trie, dtype: torch.dtype) -> Tensor:
    """The states (N + 1, H) of a GRU at all nodes.

    Args:
        gates: `(U, 3H)` W_ih x with the input and hidden biases, in the order r, z, n, but for the hidden bias of n.
        row: `(N,)` the row of `gates` that belongs to each node.
        weight_hh: `(3H, H)`; bias_n: `(H,)` the hidden bias of n, which stands inside the product with r.
        dtype: the type of the matrix products (bfloat16 under autocast); all else stays as it is.
    """
    return _GRU.apply(gates, weight_hh, bias_n, row, trie.parent, trie.steps, dtype)


def lstm(gates: Tensor, row: Tensor, weight_hh: Tensor, trie: Trie, dtype: torch.dtype) -> Tensor:
    """The states (N + 1, H) of an LSTM at all nodes; `gates (U, 4H)` hold both biases, in the order i, f, g, o."""
    return _LSTM.apply(gates, weight_hh, row, trie.parent, trie.steps, dtype)


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gates, weight_hh, bias_n, row, parent, steps, dtype) -> Tensor:
        nodes, hidden = len(row), weight_hh.shape[1]
        states = gates.new_zeros(nodes + 1, hidden)
        before = gates.new_empty(nodes, hidden)  # the parent's state
        rz = gates.new_empty(nodes, 2 * hidden)
        new, inner = gates.new_empty(nodes, hidden), gates.new_empty(nodes, hidden)  # n; W_hn h + b_hn
        weight = weight_hh.to(dtype).t()
        for a, b in steps:
            torch.index_select(states, 0, parent[a:b], out=before[a:b])
            hidden_gates = (before[a:b].to(dtype) @ weight).to(gates.dtype)  # [n, 3h]
            input_gates = gates.index_select(0, row[a:b])
            torch.add(hidden_gates[:, : 2 * hidden], input_gates[:, : 2 * hidden], out=rz[a:b]).sigmoid_()
            r, z = rz[a:b].chunk(2, 1)
            torch.add(hidden_gates[:, 2 * hidden :], bias_n, out=inner[a:b])
            torch.addcmul(input_gates[:, 2 * hidden :], r, inner[a:b], out=new[a:b]).tanh_()
            torch.lerp(new[a:b], before[a:b], z, out=states[a + 1 : b + 1])  # n + z (h - n)
        ctx.save_for_backward(weight_hh, row, parent, before, rz, new, inner)
        ctx.steps, ctx.dtype, ctx.gate_rows = steps, dtype, len(gates)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, dstates: Tensor):
        weight_hh, row, parent, before, rz, new, inner = ctx.saved_tensors
        hidden, dtype = new.shape[1], ctx.dtype
        grad = dstates.clone()
        dhidden = new.new_empty(len(row), 3 * hidden)  # gradient before r, z and of W_hn h + b_hn
        dnew = torch.empty_like(new)  # gradient before the tanh
        weight = weight_hh.to(dtype)
        for a, b in reversed(ctx.steps):
            r, z = rz[a:b].chunk(2, 1)
            n, dh = new[a:b], grad[a + 1 : b + 1]
            dr, dz, dn = dhidden[a:b].chunk(3, 1)
            kept = dh * z
            torch.sub(dh, kept, out=dnew[a:b])
            dnew[a:b].addcmul_(dnew[a:b] * n, n, value=-1)  # dh (1 - z) (1 - n^2)
            torch.sub(before[a:b], n, out=dz).mul_(kept).mul_(1 - z)
            torch.mul(dnew[a:b], r, out=dn)
            torch.mul(dn, inner[a:b], out=dr).mul_(1 - r)
            kept += dhidden[a:b].to(dtype) @ weight
            grad.index_add_(0, parent[a:b], kept)
        dgates = new.new_zeros(ctx.gate_rows, 3 * hidden)
        dgates[:, : 2 * hidden].index_add_(0, row, dhidden[:, : 2 * hidden])
        dgates[:, 2 * hidden :].index_add_(0, row, dnew)
        dweight = (dhidden.t().to(dtype) @ before.to(dtype)).to(weight_hh.dtype)
        return dgates, dweight, dhidden[:, 2 * hidden :].sum(0), None, None, None, None


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gates, weight_hh, row, parent, steps, dtype) -> Tensor:
        nodes, hidden = len(row), weight_hh.shape[1]
        states, cells = gates.new_zeros(nodes + 1, hidden), gates.new_zeros(nodes + 1, hidden)
        before, cell_before = gates.new_empty(nodes, hidden), gates.new_empty(nodes, hidden)
        ifgo, squashed = gates.new_empty(nodes, 4 * hidden), gates.new_empty(nodes, hidden)  # gates; tanh(c)
        weight = weight_hh.to(dtype).t()
        for a, b in steps:
            torch.index_select(states, 0, parent[a:b], out=before[a:b])
            torch.index_select(cells, 0, parent[a:b], out=cell_before[a:b])
            torch.index_select(gates, 0, row[a:b], out=ifgo[a:b])
            ifgo[a:b] += before[a:b].to(dtype) @ weight
            i, f, g, o = ifgo[a:b].chunk(4, 1)
            ifgo[a:b, : 2 * hidden].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            cell = torch.mul(f, cell_before[a:b], out=cells[a + 1 : b + 1]).addcmul_(i, g)
            torch.tanh(cell, out=squashed[a:b])
            torch.mul(o, squashed[a:b], out=states[a + 1 : b + 1])
        ctx.save_for_backward(weight_hh, row, parent, before, cell_before, ifgo, squashed)
        ctx.steps, ctx.dtype, ctx.gate_rows = steps, dtype, len(gates)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, dstates: Tensor):
        weight_hh, row, parent, before, cell_before, ifgo, squashed = ctx.saved_tensors
        hidden, dtype = squashed.shape[1], ctx.dtype
        grad, grad_cell = dstates.clone(), torch.zeros_like(dstates)
        dhidden = torch.empty_like(ifgo)  # gradient before the gates' non-linearities
        weight = weight_hh.to(dtype)
        for a, b in reversed(ctx.steps):
            i, f, g, o = ifgo[a:b].chunk(4, 1)
            di, df, dg, do = dhidden[a:b].chunk(4, 1)
            s, dh = squashed[a:b], grad[a + 1 : b + 1]
            dcell = grad_cell[a + 1 : b + 1].addcmul_(dh * o, 1 - s * s)
            torch.mul(dcell, g, out=di).mul_(i).mul_(1 - i)
            torch.mul(dcell, cell_before[a:b], out=df).mul_(f).mul_(1 - f)
            torch.mul(dcell, i, out=dg).mul_(1 - g * g)
            torch.mul(dh, s, out=do).mul_(o).mul_(1 - o)
            grad_cell.index_add_(0, parent[a:b], dcell * f)
            grad.index_add_(0, parent[a:b], (dhidden[a:b].to(dtype) @ weight).to(grad.dtype))
        dgates = ifgo.new_zeros(ctx.gate_rows, 4 * hidden).index_add_(0, row, dhidden)
        dweight = (dhidden.t().to(dtype) @ before.to(dtype)).to(weight_hh.dtype)
        return dgates, dweight, None, None, None, None
