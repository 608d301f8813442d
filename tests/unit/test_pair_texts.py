"""Captions, and questions with answers, as sequences: right ones, wrong ones, cut ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_captions
import tiny_vqa

from limner.data.caption_files import load_captions
from limner.data.draws import Draws
from limner.data.pair_texts import CaptionTexts, QuestionTexts, caption_pool
from limner.data.vqa_files import load_split
from limner.data.vqa_split import VQASplit
from limner.data.wordpiece import SIGNS, WordPiece
from limner.errors import UserError

LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
PIECES = WordPiece([*SIGNS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "dog", "ball", "red", "what", "is", "it"])
DRAWS = Draws(1, 0)


def written(read) -> list[str]:
    return [PIECES.decode(row[:length].tolist()) for row, length in zip(read.tokens, read.lengths.tolist())]


def well_formed(read) -> bool:
    """[CLS] first, [SEP] last, then padding; as wide as the longest."""
    rows, inside = np.arange(len(read.tokens)), np.arange(read.tokens.shape[1]) < read.lengths[:, None]
    return bool(
        (read.tokens[:, 0] == PIECES.cls).all()
        and (read.tokens[rows, read.lengths - 1] == PIECES.sep).all()
        and ((read.tokens != PIECES.pad) == inside).all()
        and not read.segments[~inside].any()
        and read.tokens.shape[1] == read.lengths.max()
    )


# --- captions ---


@pytest.fixture
def split(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"7": ["A red dog", "", "is it?"], "3": ["ball"], "9": ["Dog ball red", " "]}))
    return load_captions(path)


def test_a_pool_of_captions(split, monkeypatch):
    monkeypatch.setattr("limner.data.pair_texts._BLOCK", 2)
    assert list(caption_pool(split)) == ["ball", "A red dog", "", "is it?", "Dog ball red", " "]
    assert list(caption_pool(split.take([2]))) == ["Dog ball red", " "]


def test_captions(split):
    texts = CaptionTexts(split, PIECES, max_length=36)
    assert (texts.image_id.tolist(), texts.id.tolist(), texts.left_out) == ([3, 7, 7, 9], [0, 1, 2, 3], 2)
    read = texts.read(np.array([3, 0, 2, 1]), DRAWS, share=0.0)
    said = ["dog ball red", "ball", "is it ?", "a red dog"]
    assert written(read) == [f"[CLS] {text} [SEP]" for text in said]
    assert well_formed(read)
    assert not read.segments.any()
    assert read.labels.tolist() == [0] * 4
    assert written(CaptionTexts(split, PIECES, max_length=4).read(np.array([3]), DRAWS, share=0.0)) == [
        "[CLS] dog ball [SEP]"
    ]


def test_wrong_captions_are_of_other_images(split):
    texts = CaptionTexts(split, PIECES, max_length=36)
    items = np.tile(np.arange(4), 50)
    own = {0: {"ball"}, 1: {"a red dog", "is it ?"}, 2: {"a red dog", "is it ?"}, 3: {"dog ball red"}}
    wrong = 0
    for epoch in range(10):
        read = texts.read(items, Draws(1, epoch), share=0.5)
        assert len({tuple(read.labels[k::4]) for k in range(4)} - {(0,) * 50, (1,) * 50}) == 0  # one draw an item
        for item, text, label in zip(items.tolist(), written(read), read.labels.tolist()):
            assert (text[6:-6] in own[item]) == (label == 0)
            wrong += label
    assert 0.2 < wrong / 2000 < 0.8
    assert texts.read(items, DRAWS, share=1.0).labels.all()


def test_captions_of_one_image(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"7": ["red", "dog"]}))
    texts = CaptionTexts(load_captions(path), PIECES, max_length=36)
    assert written(texts.read(np.arange(2), DRAWS, share=0.0)) == ["[CLS] red [SEP]", "[CLS] dog [SEP]"]
    with pytest.raises(UserError, match="captions of one image alone"):
        texts.read(np.arange(2), DRAWS, share=0.5)


# --- questions ---


@pytest.fixture
def asked(tmp_path):
    tiny_vqa.write_split(tmp_path, "train")
    return load_split(tmp_path / "train_questions.json", tmp_path / "train_annotations.json")


def test_questions(asked):
    texts = QuestionTexts(asked, PIECES, max_length=36)
    read = texts.read(np.array([2, 0, 5]), DRAWS, share=0.0)
    said = [("is it blue?", "no"), ("is it red?", "yes"), ("how many?", "2")]
    spelled = [" [SEP] ".join(PIECES.decode(PIECES.encode(part)) for part in pair) for pair in said]
    assert written(read) == [f"[CLS] {text} [SEP]" for text in spelled]
    assert well_formed(read)
    assert read.labels.tolist() == [0, 0, 0]
    for row, segments, length in zip(read.tokens, read.segments, read.lengths.tolist()):
        first = row.tolist().index(PIECES.sep)
        assert segments.tolist()[:length] == [0] * (first + 1) + [1] * (length - first - 1)


def test_wrong_answers(asked):
    texts = QuestionTexts(asked, PIECES, max_length=36)
    known = {PIECES.decode(PIECES.encode(text)) for text in ("yes", "red", "no", "blue", "2")}
    drawn: set[str] = set()
    for epoch in range(40):
        read = texts.read(np.arange(7), Draws(1, epoch), share=1.0)
        assert read.labels.all()
        for number, text in enumerate(written(read)):
            answer = text.split(" [SEP]")[1].strip()
            own = {PIECES.decode(PIECES.encode(asked.strings[a])) for a in asked.answers[number].tolist() if a >= 0}
            assert answer not in own
            assert answer in known  # somebody's most frequent answer, not any text of the file
            drawn.add(answer)
    assert drawn == known


def test_the_last_resort_for_a_wrong_answer(asked, monkeypatch):
    """Where all draws are answers to this very question, one of the others is taken."""
    monkeypatch.setattr("limner.data.pair_texts._TRIES", 1)
    texts = QuestionTexts(asked, PIECES, max_length=36)
    for epoch in range(20):
        found = texts.wrong(np.arange(7), Draws(2, epoch))
        assert not (found[:, None] == asked.answers).any()
        assert np.isin(found, texts.distinct).all()


def test_all_answers_alike():
    alike = np.zeros((2, 1), np.int32)
    split = VQASplit(np.arange(2), np.arange(2), ["a", "b"], ["yes"], alike, alike[:, 0])
    with pytest.raises(UserError, match="all questions have the same answers"):
        QuestionTexts(split, PIECES, max_length=36).read(np.arange(2), DRAWS, share=1.0)
    with pytest.raises(UserError, match="have no answers to learn from"):
        QuestionTexts(VQASplit(np.arange(1), np.arange(1), ["a"]), PIECES, max_length=36)


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (12, 2, "[CLS] a a a a a [SEP] b b [SEP]"),  # the question is cut
        (3, 9, "[CLS] a a a [SEP] b b b b [SEP]"),  # the answer, where the question leaves room
        (12, 9, "[CLS] a a a [SEP] b b b b [SEP]"),  # both
        (4, 3, "[CLS] a a a a [SEP] b b b [SEP]"),
        (2, 1, "[CLS] a a [SEP] b [SEP]"),
    ],
)
def test_long_texts_are_cut(question, answer, expected):
    split = VQASplit(
        np.arange(1), np.arange(1), [" ".join("a" * question)], [" ".join("b" * answer)], np.zeros((1, 1), np.int32),
        np.zeros(1, np.int32),
    )  # fmt: skip
    read = QuestionTexts(split, PIECES, max_length=10).read(np.arange(1), DRAWS, share=0.0)
    assert written(read) == [expected]
    assert well_formed(read)


def test_what_is_read_depends_on_the_item_alone(asked, split):
    for texts in (QuestionTexts(asked, PIECES, max_length=36), CaptionTexts(split, PIECES, max_length=36)):
        whole = texts.read(np.arange(4), DRAWS, share=0.5)
        again = texts.read(np.array([3, 1]), DRAWS, share=0.5)
        assert written(again) == [written(whole)[k] for k in (3, 1)]
        assert again.labels.tolist() == whole.labels[[3, 1]].tolist()


def test_texts_are_tokenised_once(asked, split, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    first = [QuestionTexts(asked, PIECES, max_length=36, cache=folder).arrays()]
    first.append(CaptionTexts(split, PIECES, max_length=36, cache=folder).arrays())
    monkeypatch.setattr(WordPiece, "encode_all", None)
    second = [QuestionTexts(asked, PIECES, max_length=36, cache=folder).arrays()]
    second.append(CaptionTexts(split, PIECES, max_length=36, cache=folder).arrays())
    for one, other in zip(first, second):
        assert all(np.array_equal(a, b) for a, b in zip(one, other))


def test_captions_of_the_tiny_file(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(tiny_captions.karpathy()))
    texts = CaptionTexts(load_captions(tmp_path / "dataset.json", split="val"), PIECES, max_length=36)
    assert texts.image_id.tolist() == [20, 21, 21]
