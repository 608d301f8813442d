"""Words of questions, kept in the cache: the same as without it, found again only for the same texts."""

from __future__ import annotations

import numpy as np
import pytest

from limner.data import question_words
from limner.data.text import Vocabulary
from limner.errors import UserError

SPLITS = [["Is it red?", "What's this, now?", ""], ["is it a zebra"]]


def test_the_vocabulary(tmp_path, monkeypatch):
    plain = Vocabulary.build(question for split in SPLITS for question in split)
    assert question_words.vocabulary(SPLITS, cache=None) == plain
    assert question_words.vocabulary(SPLITS, cache=tmp_path) == plain
    monkeypatch.setattr(Vocabulary, "build", None)  # the second time from the file
    assert question_words.vocabulary(SPLITS, cache=tmp_path) == plain


def test_other_texts_are_counted_anew(tmp_path):
    joined = [["ab", "c"], ["a", "bc"], ["abc"], ["a", "b", "c"], ["abc", ""]]
    for questions in joined:  # written one after another they are the same letters
        assert question_words.vocabulary([questions], cache=tmp_path) == Vocabulary.build(questions)
    assert len(list(tmp_path.iterdir())) == len(joined)


def test_ids(tmp_path, monkeypatch):
    words = Vocabulary.build(SPLITS[0])
    for length in (14, 2):
        plain = words.encode_all(SPLITS[1], length, unknown="skip")
        for cache in (None, tmp_path, tmp_path):
            found = question_words.encoded(SPLITS[1], words, length, unknown="skip", cache=cache)
            for mine, theirs in zip(found, plain):
                assert mine.dtype == theirs.dtype
                assert np.array_equal(mine, theirs)
    with pytest.raises(UserError, match="not in the vocabulary"):
        question_words.encoded(SPLITS[1], words, 14, unknown="error", cache=tmp_path)
    other = Vocabulary([*words.words, "zebra"])
    assert len(question_words.encoded(SPLITS[1], other, 14, unknown="skip", cache=tmp_path)[0]) == 3
    monkeypatch.setattr(Vocabulary, "encode_all", None)
    question_words.encoded(SPLITS[1], words, 14, unknown="skip", cache=tmp_path)
