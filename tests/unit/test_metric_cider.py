"""CIDEr-D and CIDEr equal their definitions on any captions, however they are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook_metrics import cider, document_frequencies

from limner.errors import UserError
from limner.metrics import sequences
from limner.metrics.cider import Cider, CiderD
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.references import References
from limner.metrics.sequences import ImageCaptions, flat, padded

caption = st.lists(st.integers(0, 5), max_size=9)
images = st.lists(st.lists(caption, min_size=1, max_size=4), min_size=1, max_size=5)

# the second image has three captions, one of them empty; words 7 and 8 occur in one image alone
REFERENCES = [[[0, 1, 2, 3], [0, 1, 4]], [[0, 5, 6], [], [0, 5, 5, 5]], [[7, 8, 0, 1, 2, 3, 4]]]
CAPTIONS = [[0, 1, 2, 3], [], [0], [5, 5, 5, 5], [9, 9], [7, 8, 0, 1, 2, 3, 4], [3, 2, 1, 0]]
IMAGE = np.array([0, 0, 1, 1, 2, 2, 0])


def expected(captions, references, image, *, corpus=None, d=True):
    corpus = references if corpus is None else corpus
    df = document_frequencies(corpus)
    return [cider(c, references[i], df, len(corpus), d=d) for c, i in zip(captions, image)]


@settings(deadline=None, max_examples=60)
@given(images, images, st.data())
def test_definition(references, corpus, data):
    image = data.draw(st.lists(st.integers(0, len(references) - 1), max_size=6))
    captions = [data.draw(caption) for _ in image]
    frequencies = DocumentFrequencies.build(ImageCaptions.of(corpus, size=6))
    for metric, d in ((CiderD, True), (Cider, False)):
        own = metric(ImageCaptions.of(references)).score(captions, None, np.array(image))
        np.testing.assert_allclose(own, expected(captions, references, image, d=d), atol=1e-12)
        with_given = metric(ImageCaptions.of(references), frequencies).score(captions, None, np.array(image))
        np.testing.assert_allclose(with_given, expected(captions, references, image, corpus=corpus, d=d), atol=1e-12)


def test_padded_array_and_lists_are_alike():
    metric = CiderD(ImageCaptions.of(REFERENCES))
    rows = flat(CAPTIONS)
    array = padded(rows, 3)  # what stands behind the lengths does not matter
    found = metric.score(array, rows.lengths, IMAGE)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, metric.score(CAPTIONS, None, IMAGE))
    assert found[0] > 1
    assert found[1] == 0


def test_what_was_prepared_is_used_again_in_any_order():
    metric = CiderD(ImageCaptions.of(REFERENCES))
    whole = metric.score(CAPTIONS, None, IMAGE)
    fresh = CiderD(ImageCaptions.of(REFERENCES))
    for k in (5, 2, 0, 3, 1, 4, 6, 0):
        assert fresh.score([CAPTIONS[k]], None, IMAGE[[k]]).tolist() == [whole[k]]


def test_images_by_id():
    ids = {30: REFERENCES[0], 10: REFERENCES[1], 20: REFERENCES[2]}
    found = CiderD(ImageCaptions.of(ids)).score(CAPTIONS, None, np.array([30, 10, 20])[IMAGE])
    np.testing.assert_array_equal(found, CiderD(ImageCaptions.of(REFERENCES)).score(CAPTIONS, None, IMAGE))


def test_many_captions_are_scored_in_parts(monkeypatch):
    metric = CiderD(ImageCaptions.of(REFERENCES))
    whole = metric.score(CAPTIONS, None, IMAGE)
    monkeypatch.setattr(sequences, "_AT_ONCE", 2)
    np.testing.assert_array_equal(metric.score(CAPTIONS, None, IMAGE), whole)


def test_large_vocabularies_hash_and_stay_exact():
    """Ids that do not fit 16 bits: the same scores as with small ids."""
    names = np.array([5, 90_000, 17, 70_000, 2**31 - 1, 65_535, 65_536, 9, 80_000, 3])
    far = [[names[c].tolist() for c in captions] for captions in REFERENCES]
    metric = CiderD(ImageCaptions.of(far))
    found = metric.score([names[c].tolist() for c in CAPTIONS], None, IMAGE)
    np.testing.assert_allclose(found, expected(CAPTIONS, REFERENCES, IMAGE), atol=1e-12)


def test_packed_ids_reach_up_to_their_limit():
    """65,534 is the last id that fits a field: it must not run over into its neighbour."""
    top = 65_534
    references = [[[top, top, top, top]], [[0, 0, 0, 0]], [[top, 0, top, 0]]]
    captions = [[top, top, top, top], [top, 0, top, 0], [0, 0, 0, 0]]
    found = CiderD(ImageCaptions.of(references)).score(captions, None, np.arange(3))
    np.testing.assert_allclose(found, expected(captions, references, range(3)), atol=1e-12)


def test_an_id_that_does_not_fit():
    with pytest.raises(UserError, match=r"token id 65535 in a caption, expected 0 to 65,534 .* `size`"):
        CiderD(ImageCaptions.of(REFERENCES)).score([[65_535]], None, np.array([0]))
    wide = ImageCaptions.of(REFERENCES, size=70_000)
    assert CiderD(wide).score([[65_535]], None, np.array([0])).tolist() == [0.0]


def test_shared_references_are_counted_once():
    references = References(ImageCaptions.of(REFERENCES, size=100))
    metric = CiderD(references)
    assert metric.references is references
    other = DocumentFrequencies.build(ImageCaptions.of(REFERENCES, size=70_000))  # hashes n-grams: counts of its own
    assert CiderD(references, other).references is not references
    np.testing.assert_allclose(
        CiderD(references, other).score(CAPTIONS, None, IMAGE), metric.score(CAPTIONS, None, IMAGE), atol=1e-12
    )


def test_one_image_needs_given_frequencies():
    one = ImageCaptions.of(REFERENCES[:1])
    assert CiderD(one).score(CAPTIONS[:1], None, IMAGE[:1]).tolist() == [0.0]
    corpus = DocumentFrequencies.build(ImageCaptions.of(REFERENCES))
    assert CiderD(one, corpus).score(CAPTIONS[:1], None, IMAGE[:1])[0] > 1


def test_nothing_to_score():
    assert CiderD(ImageCaptions.of(REFERENCES)).score([], None, np.zeros(0, int)).shape == (0,)


def test_unknown_images():
    with pytest.raises(UserError, match=r"no reference captions for images 3, 9: are they of another split\?"):
        CiderD(ImageCaptions.of(REFERENCES)).score([[1], [1], [1]], None, np.array([9, 0, 3]))
    with pytest.raises(UserError, match="no reference captions for images 0, 11:"):
        CiderD(ImageCaptions.of({5: [[1]], 10: [[2]]})).score([[1], [1], [1]], None, np.array([11, 10, 0]))


def test_as_many_images_as_captions():
    with pytest.raises(ValueError, match="2 captions of 1 images"):
        CiderD(ImageCaptions.of(REFERENCES)).score([[1], [2]], None, np.array([0]))
