"""Captions as flat arrays keep what they were made of, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import UserError
from limner.metrics.sequences import Flat, ImageCaptions, flat, padded, parts

NESTED = [[[1, 2], []], [[3]], [[4, 5, 6], [7], [8, 9]]]


def test_there_and_back():
    rows = [[1, 2, 3], [], [4]]
    made = flat(rows)
    assert made.tokens.tolist() == [1, 2, 3, 4]
    assert made.lengths.tolist() == [3, 0, 1]
    array = padded(made, -1)
    assert array.tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    again = flat(array, made.lengths)
    assert again.tokens.tolist() == made.tokens.tolist()
    assert padded(flat([]), 0).shape == (0, 0)


@pytest.mark.parametrize(
    ("array", "lengths"),
    [(np.zeros((2, 3)), None), (np.zeros(3), np.zeros(3)), (np.zeros((2, 3)), [1, 4]), (np.zeros((2, 3)), [1, -1]),
     (np.zeros((2, 3)), [1])],
)  # fmt: skip
def test_lengths_that_do_not_fit(array, lengths):
    with pytest.raises(ValueError, match="lengths"):
        flat(array, lengths)


def test_parts_cover_everything(monkeypatch):
    monkeypatch.setattr("limner.metrics.sequences._AT_ONCE", 2)
    made = flat([[1], [2, 3], [], [4], [5, 6]])
    found = list(parts(made))
    assert [here for here, _ in found] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert [part.tokens.tolist() for _, part in found] == [[1, 2, 3], [4], [5, 6]]


def test_selection_of_images():
    captions = ImageCaptions.of(NESTED)
    found, counts = captions.select(np.array([2, 0]))
    assert found.tokens.tolist() == [4, 5, 6, 7, 8, 9, 1, 2]
    assert found.lengths.tolist() == [3, 1, 2, 2, 0]
    assert counts.tolist() == [3, 2]
    assert (len(captions), captions.size) == (3, 10)


def test_arrays_and_nested_lists_are_the_same():
    tokens = flat([ids for some in NESTED for ids in some])
    made = ImageCaptions(tokens.tokens, tokens.lengths, np.array([2, 1, 3]), np.array([30, 10, 20]), size=50)
    assert made.size == 50
    assert made.rows(np.array([20, 30, 30, 10]), 4).tolist() == [2, 0, 0, 1]
    found, _ = made.select(made.rows(np.array([10]), 1))
    assert found.tokens.tolist() == [3]


def test_images_without_captions():
    with pytest.raises(UserError, match="images without any reference caption: 8, 9; drop these images"):
        ImageCaptions.of({7: [[1]], 8: [], 9: []})


def test_ids_that_stand_twice():
    one = Flat(np.array([1, 2]), np.array([1, 1]))
    with pytest.raises(UserError, match="image ids that stand twice among the references: 4"):
        ImageCaptions(one.tokens, one.lengths, np.array([1, 1]), np.array([4, 4]))


def test_counts_that_do_not_add_up():
    with pytest.raises(ValueError, match="lengths must add up to the tokens, counts to the captions"):
        ImageCaptions(np.arange(3), np.array([2, 2]), np.array([2]))
    with pytest.raises(ValueError, match="counts to the captions"):
        ImageCaptions(np.arange(4), np.array([2, 2]), np.array([1]))
