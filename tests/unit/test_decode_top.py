"""The k largest with ties decided, against a stable sort."""

from __future__ import annotations

import pytest
import torch

from limner.decode.top import best


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("k", [1, 2, 5, 39, 40, 60])
def test_equals_a_stable_sort(levels, k):
    generator = torch.Generator().manual_seed(levels * k)
    for dtype in (torch.float32, torch.float64):
        scores = torch.randint(0, levels, (50, 40), generator=generator).to(dtype)
        values, columns = best(scores, k)
        sorted_values, sorted_columns = torch.sort(scores, dim=1, descending=True, stable=True)
        assert torch.equal(values, sorted_values[:, :k])
        assert torch.equal(columns, sorted_columns[:, :k])


def test_ties_at_the_edge_take_the_first_columns():
    values, columns = best(torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]]), 2)
    assert values.tolist() == [[3, 2], [4, 3]]
    assert columns.tolist() == [[1, 2], [4, 3]]


def test_nothing_is_minus_infinity():
    """-inf says that there is no such entry; finite ones keep their order before it."""
    scores = torch.full((2, 6), -torch.inf)
    scores[0, 4] = scores[0, 2] = 1.0
    values, columns = best(scores, 3)
    assert values.tolist() == [[1, 1, -torch.inf], [-torch.inf] * 3]
    assert columns[0, :2].tolist() == [2, 4]
    assert ((columns >= 0) & (columns < 6)).all()


def test_scores_are_left_alone():
    scores = torch.ones(3, 4)
    best(scores, 2)
    assert torch.equal(scores, torch.ones(3, 4))


def test_no_rows():
    values, columns = best(torch.zeros(0, 4), 2)
    assert values.shape == columns.shape == (0, 2)
