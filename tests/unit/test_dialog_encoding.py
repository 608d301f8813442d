"""Rows of dialogs: equal to a plain writer of the published form, shortened honestly, shared between options."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_visdial import content, words, write

from limner.data.dialog_encoding import DialogEncoder, text_rows
from limner.data.visdial_files import from_dialogs, load_split
from limner.errors import UserError

PIECES = words()


def plain(split, number, answer, *, history=None, skip=0):
    """A row by the published rules: `tokens, segments`. skip: rounds of history left out."""
    first = split.first[split.dialog[number]]
    texts = [split.captions[split.dialog[number]]]
    for n in range(first, number):
        texts += [split.questions[split.question[n]], split.answers[split.answer[n]]]
    texts += [split.questions[split.question[number]], split.answers[answer]]
    segment = 1
    if history is not None and len(texts) // 2 + 1 > history:
        texts, segment = texts[len(texts) - 2 * history :], 0
        del texts[: 2 * skip]
    else:
        del texts[1 : 1 + 2 * skip]
    tokens, segments = [PIECES.cls], [segment]
    for text in texts:
        ids = [*PIECES.encode(text), PIECES.sep]
        tokens += ids
        segments += [segment] * len(ids)
        segment = 1 - segment
    return tokens, segments


def made(encoder, rounds, answers, contexts=None):
    """Rows as lists without their padding."""
    rows = encoder.rows(np.array(rounds), np.array(answers), contexts)
    tokens, segments = encoder.padded(rows)
    assert (tokens.dtype, segments.dtype) == (np.int64, np.int64)
    assert tokens.shape == segments.shape == (len(rounds), rows.lengths.max())
    behind = np.arange(tokens.shape[1]) >= rows.lengths[:, None]
    assert (tokens[behind] == PIECES.pad).all()
    assert (segments[behind] == 0).all()
    flat, kinds = encoder.flat(rows)
    assert np.array_equal(tokens[~behind], flat)
    assert np.array_equal(segments[~behind], kinds)
    return [
        (row[:length].tolist(), kind[:length].tolist())
        for row, kind, length in zip(tokens, segments, rows.lengths.tolist())
    ]


def split_of(tmp_path_factory, seed, **options):
    return load_split(write(tmp_path_factory.mktemp("x") / "d.json", content(seed, **options)))


@settings(max_examples=15, deadline=None, database=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["val", "test"]),
    history=st.sampled_from([None, 1, 2, 3, 4, 9]),
)
def test_rows_are_the_published_ones(tmp_path_factory, seed, kind, history):
    split = split_of(tmp_path_factory, seed, split=kind)
    encoder = DialogEncoder(split, PIECES, history=history)
    pairs = [(n, option) for n in range(split.rounds) for option in split.options_of(n).tolist()]
    rounds, answers = zip(*pairs)
    assert made(encoder, rounds, answers) == [plain(split, n, option, history=history) for n, option in pairs]
    assert (encoder.shortened, encoder.cut) == (0, 0)


@settings(max_examples=40, deadline=None, database=None)
@given(seed=st.integers(0, 10**6), most=st.integers(8, 40), history=st.sampled_from([None, 2]))
def test_oldest_rounds_give_way(tmp_path_factory, seed, most, history):
    """As many rounds as fit with the longest option, and the same history for all options of a round."""
    split = split_of(tmp_path_factory, seed, longest=6)
    encoder = DialogEncoder(split, PIECES, max_length=most, history=history)
    shortened = cut = 0
    for n in range(split.rounds):
        options = split.options_of(n).tolist()
        depth = n - split.first[split.dialog[n]]
        depth = depth if history is None else min(depth, history - 1)
        rows = made(encoder, [n] * len(options), options)
        assert max(len(tokens) for tokens, _ in rows) <= most
        for skip in range(depth + 1):
            wanted = [plain(split, n, option, history=history, skip=skip) for option in options]
            if max(len(tokens) for tokens, _ in wanted) <= most:
                assert rows == wanted
                shortened += skip > 0
                break
        else:
            cut += 1
            shortened += depth > 0
            check_cut(split, n, options, rows, most, history)
    assert (encoder.shortened, encoder.cut) == (shortened, cut)


def check_cut(split, number, options, rows, most, history):
    """Each text is a beginning of itself, closed by its sign; candidates keep at least half of the row."""
    whole = PIECES.encode(split.captions[split.dialog[number]])
    asked = PIECES.encode(split.questions[split.question[number]])
    first = number == split.first[split.dialog[number]]
    depth = number - split.first[split.dialog[number]]
    for option, (tokens, segments) in zip(options, rows):
        assert tokens[0] == PIECES.cls
        assert tokens[-1] == PIECES.sep
        texts, text = [], []
        for token in tokens[1:]:
            if token == PIECES.sep:
                texts.append(text)
                text = []
            else:
                text.append(token)
        said = PIECES.encode(split.answers[option])
        assert texts[-1] == said[: len(texts[-1])]
        assert len(texts[-1]) == min(len(said), most // 2 - 1) or len(texts[-1]) == len(said)
        assert texts[-2] == asked[: len(texts[-2])]
        if len(texts) == 3:
            assert texts[0] == whole[: len(texts[0])]
            assert first or history is None or depth + 1 < history
        assert len(texts) in (2, 3)
        assert segments[-len(texts[-1]) - 1 :] == [1] * (len(texts[-1]) + 1)


def test_a_round_that_is_too_long_alone():
    talk = [{"question": "is it red", "answer": "yes", "answer_options": ["yes", "a " * 30]}]
    split = from_dialogs([{"image_id": 1, "caption": "the big dog", "dialog": talk}])
    encoder = DialogEncoder(split, PIECES, max_length=16)
    (short, _), (long, _) = made(encoder, [0, 0], split.options_of(0))
    ids = PIECES.ids
    start = [PIECES.cls, ids["the"], ids["big"], PIECES.sep, *PIECES.encode("is it red"), PIECES.sep]
    assert short == [*start, ids["yes"], PIECES.sep]
    assert long == [*start, *[ids["a"]] * 7, PIECES.sep]
    assert (encoder.cut, encoder.shortened) == (1, 0)
    tight = DialogEncoder(split, PIECES, max_length=9)
    assert made(tight, [0], [split.options_of(0)[1]])[0][0] == [
        PIECES.cls, *PIECES.encode("is it red"), PIECES.sep, *[ids["a"]] * 3, PIECES.sep,
    ]  # fmt: skip


def test_training_reads_what_the_answer_leaves_room_for():
    """One endless option shortens the history under which all options are judged, not the one that is learned."""
    talk = [
        {"question": "is it red", "answer": "yes", "answer_options": ["yes", "no"], "gt_index": 0},
        {"question": "how many", "answer": "two", "answer_options": ["two", "a " * 12], "gt_index": 0},
    ]
    split = from_dialogs([{"image_id": 1, "caption": "the dog", "dialog": talk}])
    encoder = DialogEncoder(split, PIECES, max_length=20)
    assert encoder.shortened == 1
    assert made(encoder, [1], [split.answer[1]], encoder.answer_contexts) == [plain(split, 1, split.answer[1])]
    assert made(encoder, [1], [split.answer[1]]) == [plain(split, 1, split.answer[1], skip=1)]
    assert encoder.contexts.dropped.tolist() == [0, 1]
    assert encoder.answer_contexts.dropped.tolist() == [0, 0]


def test_options_of_rounds(tmp_path_factory):
    split = split_of(tmp_path_factory, 4, split="test", rounds=4)
    encoder = DialogEncoder(split, PIECES)
    rounds = split.ranked[[2, 0]]
    rows, first = encoder.options(rounds)
    assert first.tolist() == [0, 5, 10]
    tokens, _ = encoder.padded(rows)
    wanted = [plain(split, n, option)[0] for n in rounds for option in split.options_of(n).tolist()]
    assert [row[:length].tolist() for row, length in zip(tokens, rows.lengths)] == wanted
    rows, first = encoder.options(np.zeros(0, np.int64))
    assert (len(rows.lengths), first.tolist()) == (0, [0])


def test_texts_are_encoded_once(tmp_path, tmp_path_factory, monkeypatch):
    split = split_of(tmp_path_factory, 5)
    first = DialogEncoder(split, PIECES, cache=tmp_path)
    monkeypatch.setattr(type(PIECES), "encode_all", None)
    again = DialogEncoder(split, PIECES, cache=tmp_path)
    assert np.array_equal(first.tokens, again.tokens)


def test_parts_of_a_split_have_the_same_rows(tmp_path_factory):
    split = split_of(tmp_path_factory, 6)
    part = split.take([2, 0])
    whole, some = DialogEncoder(split, PIECES), DialogEncoder(part, PIECES)
    for n in range(part.rounds):
        far = split.first[[2, 0][part.dialog[n]]] + n - part.first[part.dialog[n]]
        options = part.options_of(n)
        assert made(some, [n] * 5, options) == made(whole, [far] * 5, options)


@pytest.mark.parametrize("wrong", [{"max_length": 7}, {"history": 0}])
def test_sizes_that_make_no_sense(tmp_path_factory, wrong):
    with pytest.raises(UserError, match="expected at least 8 tokens and 1 round"):
        DialogEncoder(split_of(tmp_path_factory, 0), PIECES, **wrong)


def test_single_texts():
    flat, offsets = PIECES.encode_all(["a red dog", "", "the " * 9])
    tokens, lengths = text_rows(flat, offsets, np.array([2, 1, 0]), PIECES, max_length=6)
    ids = PIECES.ids
    assert tokens.tolist() == [
        [PIECES.cls, *[ids["the"]] * 4, PIECES.sep],
        [PIECES.cls, PIECES.sep, 0, 0, 0, 0],
        [PIECES.cls, ids["a"], ids["red"], ids["dog"], PIECES.sep, 0],
    ]
    assert lengths.tolist() == [6, 2, 5]
