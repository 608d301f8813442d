"""Tokenisation and word vocabulary: the published rules, policies for unknown words, encoding in bulk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from limner.data.text import Vocabulary, tokenize
from limner.errors import UserError


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What color is the cat?", ["what", "color", "is", "the", "cat"]),
        ("Is the man's dog, here ?", ["is", "the", "man", "'s", "dog", "here"]),
        ('Says "STOP" on red/white boy.', ["says", '"stop"', "on", "red/white", "boy."]),
        ("It''s 's's", ["it'", "'s", "'s", "'s"]),
        ("a,b??c\td", ["abc", "d"]),
        ("  ", []),
    ],
)
def test_tokenize(question, words):
    assert tokenize(question) == words


def test_words_come_in_first_seen_order_and_pad_is_behind_them():
    vocabulary = Vocabulary.build(["Is it red?", "What is red"])
    assert vocabulary.words == ("is", "it", "red", "what")
    assert vocabulary.ids["what"] == 3
    assert vocabulary.pad == len(vocabulary) == 4


def test_min_count_drops_rare_words():
    assert Vocabulary.build(["is it red", "is it", "is"], min_count=2).words == ("is", "it")


def test_encode_keeps_the_first_words():
    vocabulary = Vocabulary(f"w{i}" for i in range(20))
    question = " ".join(vocabulary.words)
    assert vocabulary.encode(question) == list(range(14))
    assert vocabulary.encode(question, 3) == [0, 1, 2]


def test_skip_drops_unknown_words_before_the_cut():
    vocabulary = Vocabulary(["is", "red"])
    assert vocabulary.encode("zebra is zebra red is", 3, unknown="skip") == [0, 1, 0]
    assert vocabulary.encode("zebra", unknown="skip") == []


def test_error_lists_unknown_words_with_the_question():
    vocabulary = Vocabulary(["is"])
    with pytest.raises(UserError, match=r"zebra, lion \(first in 'Is zebra\?'\)"):
        vocabulary.encode_all(["is", "Is zebra?", "lion is zebra"])


def test_unknown_words_behind_the_cut_do_not_matter():
    assert Vocabulary(["is"]).encode("is zebra", 1) == [0]


def test_encode_all_agrees_with_encode():
    questions = ["is it red", "", "red red", "it"]
    vocabulary = Vocabulary.build(questions)
    flat, offsets = vocabulary.encode_all(questions, 2)
    assert flat.dtype == np.int32
    assert offsets.dtype == np.int64
    assert [part.tolist() for part in np.split(flat, offsets[1:-1])] == [vocabulary.encode(q, 2) for q in questions]


def test_no_questions_give_empty_arrays():
    flat, offsets = Vocabulary(["is"]).encode_all([])
    assert flat.shape == (0,)
    assert offsets.tolist() == [0]


def test_json_round_trip_and_plain_list():
    vocabulary = Vocabulary(["is", "café"])
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    assert Vocabulary.from_json(["is", "café"]) == vocabulary
    assert Vocabulary.from_json(["café", "is"]) != vocabulary


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary(["a", "b", "a"]), "stand twice: a"),
        (lambda: Vocabulary(["a", 3]), "found 3, expected words"),
        (lambda: Vocabulary(["a", ""]), "found ''"),
        (lambda: Vocabulary.from_json({"word": []}, "my.json"), "my.json: expected a list of words"),
        (lambda: Vocabulary(["a"]).encode("a", 0), "max_len: found 0"),
        (lambda: Vocabulary(["a"]).encode("a", unknown="zero"), "unknown: found 'zero'"),
    ],
)
def test_errors_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
