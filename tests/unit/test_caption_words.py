"""The captioner's vocabulary: which words are kept, their order, and the ids of what is no word."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limner.data.caption_words import UNKNOWN, CaptionVocabulary
from limner.errors import UserError

CAPTIONS = [["a", "dog", "and", "a", "cat"], ["a", "cat"], ["the", "dog"], []]


def test_words_end_start_and_padding_are_different_ids():
    words = CaptionVocabulary([UNKNOWN, "a", "dog"])
    assert (len(words), words.unk, words.eos, words.bos, words.pad) == (3, 0, 3, 4, 5)
    assert words.words == (UNKNOWN, "a", "dog")
    assert words.ids == {UNKNOWN: 0, "a": 1, "dog": 2}
    assert CaptionVocabulary(["a"]).unk is None
    assert CaptionVocabulary(["a", "dog", UNKNOWN]).unk == 2  # as published vocabularies have it


def test_build_keeps_frequent_words_the_most_frequent_first():
    assert CaptionVocabulary.build(CAPTIONS, min_count=1).words == (UNKNOWN, "a", "cat", "dog", "and", "the")
    assert CaptionVocabulary.build(CAPTIONS, min_count=2).words == (UNKNOWN, "a", "cat", "dog")
    assert CaptionVocabulary.build(CAPTIONS, min_count=3).words == (UNKNOWN, "a")
    assert CaptionVocabulary.build(CAPTIONS).words == (UNKNOWN,)  # 5 by default
    assert CaptionVocabulary.build([["a"] * 5, ["b"] * 4]).words == (UNKNOWN, "a")
    assert CaptionVocabulary.from_counts({"b": 5, "a": 5, "c": 7, "d": 4}).words == (UNKNOWN, "c", "a", "b")
    with pytest.raises(UserError, match="min_count: found 0, expected 1 or more"):
        CaptionVocabulary.build(CAPTIONS, min_count=0)


def test_the_unknown_sign_in_captions_is_not_a_second_word():
    words = CaptionVocabulary.build([[UNKNOWN, UNKNOWN, "a"]], min_count=1)
    assert words.words == (UNKNOWN, "a")
    assert words.encode([UNKNOWN, "b"]) == [0, 0]


def test_encode():
    words = CaptionVocabulary([UNKNOWN, "a", "dog"])
    assert words.encode(["a", "zebra", "dog"]) == [1, 0, 2]
    assert words.encode([]) == []
    bare = CaptionVocabulary(["a", "dog"])
    assert bare.encode(["dog", "a"]) == [1, 0]
    with pytest.raises(UserError, match=r"vocabulary of 2, which has no <unk>: 'zebra', 'x'; leave them out"):
        bare.encode(["zebra", "a", "x", "zebra"])


def test_decode_stops_at_the_end():
    words = CaptionVocabulary([UNKNOWN, "a", "dog"])
    assert words.decode([1, 2, words.eos, 1]) == "a dog"
    assert words.decode([words.bos, 1, 0]) == "a <unk>"
    assert words.decode([2, words.pad, 1]) == "dog"  # cut before it ended
    assert words.decode(torch.tensor([2, 2, words.eos])) == "dog dog"
    assert words.strings([words.bos, 1, words.eos]) == ["a"]
    assert words.decode([]) == words.decode([words.eos]) == ""
    for wrong in (-1, words.pad + 1):
        with pytest.raises(ValueError, match=f"id {wrong} is not one of 0..5"):
            words.decode([wrong])


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "dog", "."]), max_size=6), min_size=1, max_size=6))
def test_decoding_gives_the_words_back(captions):
    words = CaptionVocabulary.build(captions, min_count=1)
    for caption in captions:
        assert words.decode([words.bos, *words.encode(caption), words.eos, words.pad]) == " ".join(caption)


def test_equality_is_that_of_the_words():
    assert CaptionVocabulary(["a", "b"]) == CaptionVocabulary(["a", "b"])
    assert CaptionVocabulary(["a", "b"]) != CaptionVocabulary(["b", "a"])
    assert CaptionVocabulary(["a"]) != ["a"]


@pytest.mark.parametrize("wrong", [["a", ""], ["a", None], [3]])
def test_words_are_non_empty_strings(wrong):
    with pytest.raises(UserError, match="expected words as non-empty strings"):
        CaptionVocabulary(wrong)


def test_a_word_stands_once():
    with pytest.raises(UserError, match="words stand twice: a, b; each word needs one place"):
        CaptionVocabulary(["a", "b", "a", "b", "c"])
