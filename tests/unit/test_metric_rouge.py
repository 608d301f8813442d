"""ROUGE-L equals its definition, with the official mixture of best precision and best recall."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook_metrics import rouge_l

from limner.metrics.references import References
from limner.metrics.rouge import RougeL
from limner.metrics.sequences import ImageCaptions

caption = st.lists(st.integers(0, 4), max_size=9)
images = st.lists(st.lists(caption, min_size=1, max_size=4), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200)
@given(images, st.data())
def test_definition(references, data):
    image = data.draw(st.lists(st.integers(0, len(references) - 1), max_size=6))
    captions = [data.draw(caption) for _ in image]
    found = RougeL(ImageCaptions.of(references)).score(captions, None, np.array(image, int))
    wanted = [rouge_l(one, references[k]) for one, k in zip(captions, image)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=0)


def test_precision_and_recall_of_different_references():
    """All of the caption is in the long reference, half of the short one in the caption."""
    references = ImageCaptions.of([[[1, 2, 3, 4, 5, 6, 7, 8], [1, 9]]])
    found = RougeL(References(references)).score([[1, 2]], None, np.array([0]))
    precision, recall = 1.0, 0.5
    assert found.tolist() == [(1 + 1.44) * precision * recall / (recall + 1.44 * precision)]


def test_empty_captions_and_references():
    references = ImageCaptions.of([[[]], [[1], []]])
    found = RougeL(references).score([[], [1], [], [1]], None, np.array([0, 0, 1, 1]))
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_long_captions():
    long = list(range(300))
    found = RougeL(ImageCaptions.of([[long]])).score([long[::2]], None, np.array([0]))
    np.testing.assert_allclose(found, [rouge_l(long[::2], [long])], rtol=1e-12)
