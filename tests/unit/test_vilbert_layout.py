"""Sequences as rows: groups, masks, and the way back."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limner.models import vilbert_layout
from limner.models.vilbert_layout import Layout, cut


def cost_of(cuts, lengths, cost):
    return sum((b - a) * lengths[b - 1] + cost for a, b in cuts)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7).map(sorted), st.integers(0, 12))
def test_cuts_are_the_cheapest(lengths, cost):
    cuts = cut(lengths, cost)
    assert [k for a, b in cuts for k in range(a, b)] == list(range(len(lengths)))
    places = range(1, len(lengths))
    every = (
        list(itertools.pairwise([0, *inner, len(lengths)]))
        for count in range(len(lengths))
        for inner in itertools.combinations(places, count)
    )
    assert cost_of(cuts, lengths, cost) == min(cost_of(each, lengths, cost) for each in every)


def test_equal_lengths_need_neither_padding_nor_mask():
    lengths = [4, 2, 4, 1, 2]
    layout = Layout(torch.arange(6) < torch.tensor(lengths)[:, None], row_flop=1e8)
    assert [(g.sequences, g.length, g.mask) for g in layout.groups] == [(1, 1, None), (2, 2, None), (2, 4, None)]
    assert layout.order.tolist() == [3, 1, 4, 0, 2]
    assert layout.inverse.tolist() == [3, 1, 4, 0, 2]
    assert len(layout.index) == sum(lengths)
    assert layout.first.tolist() == [0, 1, 3, 5, 9]


@pytest.mark.parametrize("cost", [0, 2, 100])
def test_rows_and_back(monkeypatch, cost):
    monkeypatch.setitem(vilbert_layout.GROUP_FLOP, "cpu", cost)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 1, 0]]).bool()
    layout = Layout(mask, row_flop=1)
    values = torch.arange(20.0).view(4, 5)
    rows = values.flatten()[layout.index]
    assert torch.equal(layout.padded(rows)[mask], values[mask])
    assert rows[layout.first].tolist() == values[layout.order, 0].tolist()
    start = 0
    for group in layout.groups:
        part = rows[start : start + group.rows].view(group.sequences, group.length)
        real = torch.ones_like(part).bool() if group.mask is None else group.mask
        sequences = layout.order[: len(part)] if start == 0 else None
        if sequences is not None:
            assert [row[k].tolist() for row, k in zip(part, real)] == [values[n][mask[n]].tolist() for n in sequences]
        start += group.rows
    assert start == len(rows)
    assert sum(int(g.sequences * g.length if g.mask is None else g.mask.sum()) for g in layout.groups) == mask.sum()
    chosen = torch.zeros_like(mask)
    chosen[0, 2] = chosen[1, 0] = chosen[1, 4] = chosen[3, 3] = True
    assert rows[layout.rows_at(chosen)].tolist() == [2.0, 5.0, 9.0, 18.0]


def test_a_padded_token_cannot_be_asked_for():
    mask = torch.tensor([[True, True, False]])
    layout = Layout(mask)
    with pytest.raises(IndexError):
        torch.zeros(2, 1).index_select(0, layout.rows_at(~mask))


def test_whole_keeps_everything_in_place():
    mask = torch.tensor([[True, False, False], [True, True, True]])
    layout = Layout(mask, whole=True)
    assert layout.index.tolist() == list(range(6))
    assert layout.order.tolist() == [0, 1]
    assert torch.equal(layout.groups[0].mask, mask)
