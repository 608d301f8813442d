"""Rows of a state: what is a tree of rows, and what is shared."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from limner.decode import live_rows, select
from limner.decode.state import first_leaf


class Pair(NamedTuple):
    a: torch.Tensor
    b: object


def test_every_kind_of_tree():
    class Regions:
        pass

    rows, regions, scalar = torch.arange(12.0).view(4, 3), Regions(), torch.tensor(5)
    state = {"pair": Pair(rows, [rows + 1, None]), "tuple": (rows + 2, scalar, "text"), "regions": regions, "n": 3}
    index = torch.tensor([2, 0, 2])
    chosen = select(state, index)
    assert torch.equal(chosen["pair"].a, rows[index])
    assert torch.equal(chosen["pair"].b[0], rows[index] + 1)
    assert torch.equal(chosen["tuple"][0], rows[index] + 2)
    assert chosen["pair"].b[1] is None
    assert chosen["tuple"][1:] == (scalar, "text")
    assert chosen["regions"] is regions
    assert chosen["n"] == 3
    assert [type(part) for part in (chosen, chosen["pair"], chosen["pair"].b)] == [dict, Pair, list]
    assert torch.equal(state["pair"].a, rows)  # the old state is as it was


def test_gradients_pass_through():
    rows = torch.arange(6.0).view(3, 2).requires_grad_()
    select({"h": rows}, torch.tensor([1, 1]))["h"].sum().backward()
    assert rows.grad.tolist() == [[0, 0], [2, 2], [0, 0]]


def test_the_number_of_rows_comes_from_the_first_tensor_with_rows():
    assert len(first_leaf((None, [torch.tensor(1)], {"h": torch.zeros(7, 2)}))) == 7
    with pytest.raises(ValueError, match="at least one tensor"):
        first_leaf((None, "text"))


def test_live_rows_are_those_that_have_not_ended():
    assert [rows.tolist() for rows in live_rows(torch.tensor([[3, 1], [2, 0]]))] == [[0, 1, 2], [0, 2], [0]]
    assert live_rows(torch.zeros(0, 2, dtype=torch.long)) == []
