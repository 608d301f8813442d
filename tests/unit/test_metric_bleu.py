"""BLEU equals its definition for each caption and for a corpus."""

from __future__ import annotations

import numpy as np
import pytest
import textbook_metrics as textbook
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.metrics.bleu import SentenceBleu, bleu
from limner.metrics.references import References
from limner.metrics.sequences import ImageCaptions

caption = st.lists(st.integers(0, 4), max_size=8)
pairs = st.lists(st.tuples(caption, st.lists(caption, min_size=1, max_size=4)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=150)
@given(pairs)
def test_definition(pairs):
    references = ImageCaptions.of([some for _, some in pairs])
    counts = SentenceBleu(references).counts([one for one, _ in pairs], None, np.arange(len(pairs)))
    wanted = [textbook.bleu_counts(one, some) for one, some in pairs]
    np.testing.assert_allclose(bleu(counts), [textbook.bleu(*each) for each in wanted], rtol=1e-12, atol=0)
    sums = [np.sum([each[k] for each in wanted], 0).tolist() for k in range(4)]
    np.testing.assert_allclose(bleu(counts.total()), textbook.bleu(*sums), rtol=1e-12, atol=0)


def test_score_is_the_last_order():
    references = ImageCaptions.of([[[1, 2, 3, 4, 5]], [[6, 7, 8]]])
    captions, image = [[1, 2, 3, 4], [6, 7], [8]], np.array([0, 1, 1])
    for n in (1, 2, 4):
        metric = SentenceBleu(references, n=n)
        each = bleu(metric.counts(captions, None, image))
        assert each.shape == (3, n)
        assert metric.score(captions, None, image).tolist() == each[:, -1].tolist()


@pytest.mark.parametrize(("lengths", "closest"), [((3, 5), 3), ((5, 3), 3), ((9, 5), 5), ((4, 4), 4), ((1, 6, 8), 6)])
def test_of_two_references_as_close_the_shorter_counts(lengths, closest):
    references = ImageCaptions.of([[[0] * length for length in lengths]])
    counts = SentenceBleu(references).counts([[0] * 4 if closest != 6 else [0] * 5], None, np.array([0]))
    assert counts.reference_length.tolist() == [closest]


def test_images_may_have_different_numbers_of_references():
    references = ImageCaptions.of([[[1, 2]], [[9, 9, 9, 9, 9], [1, 2], [3]]])
    counts = SentenceBleu(references).counts([[1, 2], [1, 2]], None, np.array([0, 1]))
    assert counts.reference_length.tolist() == [2, 2]
    assert counts.matched.tolist() == [[2, 1, 0, 0]] * 2


def test_an_empty_caption_scores_nothing():
    references = ImageCaptions.of([[[1, 2]], [[]]])
    assert SentenceBleu(references).score([[], []], None, np.array([0, 1])).tolist() == [0.0, 0.0]


def test_shared_references_are_counted_once():
    references = References(ImageCaptions.of([[[1, 2]]]))
    assert SentenceBleu(references).references is references
    assert SentenceBleu(references, n=2).references is not references
