"""Masks of words and regions: the published shares, from numbers that depend on what is masked alone."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_visdial import words

from limner.data.dialog_masking import BERT, DIALOG, mask_regions, mask_words, region_rule, word_rule
from limner.data.draws import Draws

PIECES = words()
DRAWS = Draws(seed=3, epoch=2)
FROZEN = [[0.10491857571950891, 0.7367575006418785], [0.0012290249870194891, 0.2191192184677535]]


# --- numbers ---


def test_numbers_depend_on_what_they_are_for_alone():
    items = np.array([5, 900, -2]), np.array([1, 1, 7])
    numbers = DRAWS.uniform("a", *items, width=4)
    assert numbers.shape == (3, 4)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.array_equal(DRAWS.uniform("a", items[0][[2, 0]], items[1][[2, 0]], width=2), numbers[[2, 0], :2])
    assert len(np.unique(numbers)) == 12
    for other in (
        DRAWS.uniform("b", *items, width=4),
        Draws(4, 2).uniform("a", *items, width=4),
        Draws(3, 3).uniform("a", *items, width=4),
        DRAWS.uniform("a", items[1], items[0], width=4),
        DRAWS.uniform("a", items[0], width=4),
    ):
        assert not np.isin(other, numbers).any()


def test_numbers_never_change():
    """What a run of an older version drew, a resumed run draws again."""
    numbers = DRAWS.uniform("x", np.array([7, 8]), width=2)
    assert numbers.tolist() == FROZEN
    assert DRAWS.below("x", np.array([10, 100]), np.array([7, 8])).tolist() == [
        [int(FROZEN[0][0] * 10)],
        [int(FROZEN[1][0] * 100)],
    ]


def test_numbers_are_uniform():
    numbers = DRAWS.uniform("x", np.arange(2000), width=50)
    counts, _ = np.histogram(numbers, 20, (0, 1))
    assert abs(counts / 5000 - 1).max() < 0.06
    near = np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1], np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]
    assert abs(near[0]) < 0.02
    assert abs(near[1]) < 0.1
    assert set(DRAWS.below("x", 3, np.arange(100))[:, 0].tolist()) == {0, 1, 2}


# --- words ---


def rows(count=400, width=40):
    """Rows of [CLS] words [SEP] words [SEP] and padding."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, len(PIECES), (count, width))
    tokens[:, 0], tokens[:, 10] = PIECES.cls, PIECES.sep
    ends = rng.integers(20, width, count)
    tokens[np.arange(width) > ends[:, None]] = PIECES.pad
    tokens[np.arange(count), ends] = PIECES.sep
    return tokens


@pytest.mark.parametrize(("kinds", "share"), [(DIALOG, 0.15), (BERT, 0.15), (DIALOG, 0.5), (DIALOG, 0.0)])
def test_words(kinds, share):
    tokens = rows()
    before = tokens.copy()
    found = mask_words(tokens, PIECES, DRAWS, np.arange(400), share=share, kinds=kinds)
    assert np.array_equal(tokens, before)
    word = ~np.isin(tokens, [PIECES.cls, PIECES.sep, PIECES.pad])
    hidden = found.labels >= 0
    assert not hidden[~word].any()
    assert np.array_equal(found.labels[hidden], tokens[hidden])
    assert set(found.labels[~hidden].tolist()) == {-1}
    assert np.array_equal(found.tokens[~hidden], tokens[~hidden])
    count = int(hidden.sum())
    assert count / word.sum() == pytest.approx(share, abs=0.02)
    if not count:
        return
    masked = found.tokens[hidden] == PIECES.mask
    changed = ~masked & (found.tokens[hidden] != tokens[hidden])
    if kinds == DIALOG:
        assert masked.all()
    else:
        # one of 25 parts drawn is [MASK], and one is the word itself
        assert masked.mean() == pytest.approx(0.8 + 0.1 / 25, abs=0.03)
        assert changed.mean() == pytest.approx(0.1 * 23 / 25, abs=0.03)
        assert len(np.unique(found.tokens[hidden][changed])) > 15


def test_masks_do_not_depend_on_the_batch():
    tokens = rows()
    whole = mask_words(tokens, PIECES, DRAWS, np.arange(400), np.ones(400, int), kinds=BERT)
    part = mask_words(tokens[7:9, :30], PIECES, DRAWS, np.array([7, 8]), np.ones(2, int), kinds=BERT)
    assert np.array_equal(part.tokens, whole.tokens[7:9, :30])
    assert np.array_equal(part.labels, whole.labels[7:9, :30])
    other = mask_words(tokens, PIECES, Draws(3, 3), np.arange(400), np.ones(400, int))
    assert not np.array_equal(other.labels, whole.labels)


def test_the_rule_for_words():
    tokens = np.array([[2, 9, 9, 9, 9, 3, 0]])
    chosen = np.array([[0.0, 0.0799, 0.0801, 0.0901, 0.1, 0.0, 0.0]])
    found = word_rule(tokens, PIECES, chosen, share=0.1, kinds=BERT, other=np.full((1, 7), 20))
    assert found.tokens.tolist() == [[2, PIECES.mask, 20, 9, 9, 3, 0]]
    assert found.labels.tolist() == [[-1, 9, 9, 9, -1, -1, -1]]


# --- regions ---


def test_the_rule_for_regions():
    mask = np.array([[True, True, True, True, False], [True, True, False, False, False]])
    chosen = np.array([[0.0, 0.134, 0.136, 0.2, 0.0], [0.14, 0.9, 0.0, 0.0, 0.0]])
    found = region_rule(mask, chosen, share=0.15, blank=0.9)
    assert found.predicted.tolist() == [[False, True, True, False, False], [False] * 5]
    assert found.blanked.tolist() == [[True, True, False, False, False], [False] * 5]
    found = region_rule(mask, chosen, share=0.15, blank=0.9, extra=np.array([3, 0]))
    assert found.predicted.tolist() == [[False, True, True, True, False], [False] * 5]
    assert found.blanked.tolist() == [[True, True, False, False, False], [False] * 5]


@pytest.mark.parametrize("one_more", [True, False])
def test_regions(one_more):
    mask = np.arange(37) <= np.random.default_rng(1).integers(0, 37, 600)[:, None]
    items = np.arange(600)
    found = mask_regions(mask, DRAWS, items, one_more=one_more)
    assert not (found.predicted | found.blanked)[~mask].any()
    assert not found.predicted[:, 0].any()
    assert found.blanked[:, 0].mean() == pytest.approx(0.135, abs=0.05)
    plain = mask_regions(mask, DRAWS, items, one_more=False)
    assert np.array_equal(plain.blanked, found.blanked)
    inner = mask[:, 1:]
    assert plain.predicted[:, 1:].sum() / inner.sum() == pytest.approx(0.15, abs=0.02)
    assert plain.blanked[:, 1:].sum() / plain.predicted.sum() == pytest.approx(0.9, abs=0.03)
    if one_more:
        more = found.predicted & ~plain.predicted
        assert more.sum(1).max() == 1
        assert (found.predicted.any(1) == inner.any(1)).all()  # each image that has a region predicts one
    part = mask_regions(mask[5:7], DRAWS, items[5:7], one_more=one_more)
    assert np.array_equal(part.predicted, found.predicted[5:7])


def test_one_region_more_is_any_of_the_real_ones():
    mask = np.tile([True, True, True, True, False], (900, 1))
    found = mask_regions(mask, DRAWS, np.arange(900), share=0.0)
    assert found.predicted.sum(1).tolist() == [1] * 900
    assert not found.blanked.any()
    counts = found.predicted.sum(0)
    assert counts[[0, 4]].tolist() == [0, 0]
    assert counts[1:4].min() > 250
