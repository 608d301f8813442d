"""Document frequencies: counted right, kept safely, refused when they belong to something else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook_metrics import document_frequencies

from limner.errors import UserError
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.ngrams import Lookup, ngrams
from limner.metrics.sequences import ImageCaptions, flat

CAPTIONS = ImageCaptions.of([[[0, 1, 2], [0, 1]], [[0, 0, 2]], [[3], []]])
WORDS = ("a", "dog", "cat", "sits")


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1, max_size=3), min_size=1, max_size=5))
def test_definition(corpus):
    made = DocumentFrequencies.build(ImageCaptions.of(corpus, size=9))
    wanted = document_frequencies(corpus)
    assert len(made.keys) == len(wanted)
    assert int(made.counts.sum()) == sum(wanted.values())
    for ngram, images in wanted.items():
        assert made.count(*ngram) == images
    assert made.count(8) == made.count(8, 0) == 0
    for order, (keys, _) in enumerate(ngrams(flat([ids for some in corpus for ids in some]), 4, made.base)):
        assert (made.idf(keys) <= np.log(len(corpus))).all(), order


def test_weight_is_that_of_the_definition():
    made = DocumentFrequencies.build(CAPTIONS)
    (keys, _), *_ = ngrams(flat([[0, 1, 3, 7]]), 1, made.base)
    # word 0 is in two of three images, 1 and 3 in one, 7 in none: as rare as in one
    np.testing.assert_allclose(made.idf(keys), np.log(3) - np.log([2, 1, 1, 1]))


@settings(deadline=None)
@given(st.sets(st.integers(0, 2**64 - 2), max_size=40), st.lists(st.integers(0, 2**64 - 1), max_size=10))
def test_lookup_is_a_search(present, others):
    keys = np.array(sorted(present), np.uint64)
    asked = np.array([*others, *present, 0, 2**64 - 1], np.uint64)
    place, known = Lookup(keys).find(asked)
    assert known.tolist() == [int(key) in present for key in asked]
    assert (keys[place[known]] == asked[known]).all()


def test_saved_and_loaded(tmp_path):
    made = DocumentFrequencies.build(CAPTIONS, words=WORDS)
    made.save(tmp_path / "new" / "df.npz")
    found = DocumentFrequencies.load(tmp_path / "new" / "df.npz", words=WORDS, captions=CAPTIONS)
    assert (found.images, found.n, found.base, found.words) == (3, 4, made.base, WORDS)
    assert found.fingerprint == made.fingerprint
    np.testing.assert_array_equal(found.keys, made.keys)
    np.testing.assert_array_equal(found.counts, made.counts)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["df.npz"]


def test_refused_for_another_vocabulary_or_other_captions(tmp_path):
    path = tmp_path / "df.npz"
    DocumentFrequencies.build(CAPTIONS, words=WORDS).save(path)
    with pytest.raises(
        UserError, match=r"df\.npz: built with the vocabulary \w{12}, the model has \w{12}; build"
    ) as no:
        DocumentFrequencies.load(path, words=("dog", "a", "cat", "sits"))
    assert "\n" not in str(no.value)
    # the same words in another grouping by image
    other = ImageCaptions.of([[[0, 1, 2]], [[0, 1]], [[0, 0, 2]], [[3], []]])
    with pytest.raises(UserError, match=r"df\.npz: built from captions \w{12}, found \w{12}; build it from these"):
        DocumentFrequencies.load(path, words=WORDS, captions=other)


def write_pickle(path):
    path.write_bytes(pickle.dumps({"document_frequency": {}}))


def write_other_arrays(path):
    with open(path, "wb") as file:
        np.savez(file, keys=np.zeros(3), meta=np.frombuffer(b'{"format": "mine"}', np.uint8))


def write_objects(path):
    with open(path, "wb") as file:
        np.savez(file, meta=np.array([{"format": 1}], object))


@pytest.mark.parametrize("write", [write_pickle, write_other_arrays, write_objects, lambda p: p.write_bytes(b"PK")])
def test_other_files_are_refused(tmp_path, write):
    path = tmp_path / "df.npz"
    write(path)
    with pytest.raises(UserError, match=r"df\.npz: no file of document frequencies \(format .*\); build it again"):
        DocumentFrequencies.load(path)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"df\.npz: no such file; document frequencies are built when none are given"):
        DocumentFrequencies.load(tmp_path / "df.npz")


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"df\.npz: cannot be written \("):
        DocumentFrequencies.build(CAPTIONS).save(tmp_path / "file" / "df.npz")


def test_prepared_are_kept_for_the_same_captions_only(tmp_path, monkeypatch):
    made = DocumentFrequencies.prepared(CAPTIONS, words=WORDS, folder=tmp_path)
    build = DocumentFrequencies.build
    monkeypatch.setattr(DocumentFrequencies, "build", lambda *_, **__: pytest.fail("built again"))
    again = DocumentFrequencies.prepared(CAPTIONS, words=WORDS, folder=tmp_path)
    assert again.fingerprint == made.fingerprint
    np.testing.assert_array_equal(again.counts, made.counts)

    monkeypatch.setattr(DocumentFrequencies, "build", build)
    others = [
        DocumentFrequencies.prepared(CAPTIONS, words=WORDS[::-1], folder=tmp_path),
        DocumentFrequencies.prepared(ImageCaptions.of([[[0]], [[1, 2]]]), words=WORDS, folder=tmp_path),
        DocumentFrequencies.prepared(CAPTIONS, words=WORDS, n=2, folder=tmp_path),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_no_images():
    with pytest.raises(UserError, match="document frequencies: no images"):
        DocumentFrequencies.build(ImageCaptions.of([]))
