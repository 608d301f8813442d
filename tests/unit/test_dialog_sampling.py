"""Which sequences an epoch trains on: functions of (seed, epoch, image), drawn as published."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tiny_visdial import content, words, write

from limner.data.dialog_encoding import DialogEncoder
from limner.data.dialog_sampling import check_answers, compared_options, other_captions, sequences, wrong_options
from limner.data.draws import Draws
from limner.data.visdial_files import from_dialogs, load_split
from limner.errors import UserError

PIECES = words()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    file = content(2, dialogs=30, rounds=4)
    return DialogEncoder(load_split(write(tmp_path_factory.mktemp("x") / "d.json", file)), PIECES)


def text(encoder, rows):
    flat, _ = encoder.flat(rows)
    ends = np.cumsum(rows.lengths)
    return [part.tolist() for part in np.split(flat, ends[:-1])]


def test_all_sequences(encoder):
    split, dialogs = encoder.split, np.array([4, 0])
    found = sequences(encoder, dialogs, Draws(1, 0), negatives=2)
    assert found.dialog.tolist() == [0] * 12 + [1] * 12
    rounds = [n for d in dialogs for n in range(split.first[d], split.first[d + 1]) for _ in range(3)]
    assert found.round.tolist() == rounds
    assert found.candidate.tolist() == [0, 1, 2] * 8
    assert found.label.tolist() == [0, 1, 1] * 8
    right = encoder.rows(np.array(rounds[::3]), split.answer[rounds[::3]], encoder.answer_contexts)
    assert text(encoder, found.rows)[::3] == text(encoder, right)
    for n, row in zip(rounds, text(encoder, found.rows)):
        options = encoder.rows(np.full(5, n), split.options_of(n))
        assert row in text(encoder, options)


def test_a_few_sequences_of_each_image(encoder):
    dialogs = np.arange(30)
    whole = sequences(encoder, dialogs, Draws(1, 5))
    everything = dict(zip(zip(whole.round.tolist(), whole.candidate.tolist()), text(encoder, whole.rows)))
    few = sequences(encoder, dialogs, Draws(1, 5), per_image=3)
    assert np.bincount(few.dialog).tolist() == [3] * 30
    chosen = list(zip(few.round.tolist(), few.candidate.tolist()))
    assert chosen == sorted(set(chosen))
    assert [everything[key] for key in chosen] == text(encoder, few.rows)
    # the same for an image in any batch, another in every epoch and with every seed
    alone = sequences(encoder, np.array([7]), Draws(1, 5), per_image=3)
    assert text(encoder, alone.rows) == [row for row, d in zip(text(encoder, few.rows), few.dialog) if d == 7]
    for draws in (Draws(1, 6), Draws(2, 5)):
        again = sequences(encoder, dialogs, draws, per_image=3)
        assert list(zip(again.round.tolist(), again.candidate.tolist())) != chosen
    assert len(sequences(encoder, dialogs, Draws(1, 5), per_image=99).round) == 240


def test_every_sequence_comes_up_alike(encoder):
    counts: Counter = Counter()
    for epoch in range(300):
        found = sequences(encoder, np.array([3]), Draws(1, epoch), per_image=2)
        counts.update(zip(found.round.tolist(), found.candidate.tolist()))
    assert len(counts) == 8
    assert min(counts.values()) > 50
    assert max(counts.values()) < 105


def test_wrong_options_are_all_but_the_answer_given(encoder):
    split = encoder.split
    drawn = [
        wrong_options(encoder, np.array([5, 6]), np.array([1, 1]), Draws(1, epoch)).tolist() for epoch in range(400)
    ]
    for place, n in enumerate((5, 6)):
        counts = Counter(pair[place] for pair in drawn)
        assert set(counts) == set(range(5)) - {int(split.gt_index[n])}
        assert min(counts.values()) > 60
    assert len({tuple(pair) for pair in drawn}) > 10  # of two rounds not the same


def test_wrong_options_fit():
    options = ["yes", "a " * 20, "no", "the " * 20, "two"]
    talk = [{"question": "is it red", "answer": "yes", "answer_options": options, "gt_index": 0}]
    split = from_dialogs([{"image_id": 1, "caption": "the dog", "dialog": talk}])
    rounds, one = np.zeros(1, int), np.ones(1, int)
    tight = DialogEncoder(split, PIECES, max_length=14)
    found = Counter(int(wrong_options(tight, rounds, one, Draws(1, epoch))[0]) for epoch in range(200))
    assert set(found) == {2, 4}
    assert min(found.values()) > 60
    roomy = DialogEncoder(split, PIECES)
    assert {int(wrong_options(roomy, rounds, one, Draws(1, e))[0]) for e in range(100)} == {1, 2, 3, 4}
    # none fits: the row is cut
    talk[0]["answer_options"] = ["yes", "a " * 20]
    split = from_dialogs([{"image_id": 1, "caption": "the dog", "dialog": talk}])
    found = sequences(DialogEncoder(split, PIECES, max_length=14), np.zeros(1, int), Draws(1, 0))
    assert found.rows.lengths.tolist() == [10, 14]


def test_what_cannot_be_trained_on(tmp_path):
    split = load_split(write(tmp_path / "d.json", content(split="test")))
    with pytest.raises(UserError, match="dialogs without a known answer cannot be trained on: images 107, 100"):
        sequences(DialogEncoder(split, PIECES), np.array([1, 0]), Draws(1, 0))
    with pytest.raises(UserError, match=r"data.fit: no round of the dialogs of images 100, 107, 114, 121 has a kn"):
        check_answers(split)
    one = [{"question": "is it", "answer": "yes", "answer_options": ["yes"], "gt_index": 0}]
    split = from_dialogs([{"image_id": 9, "caption": "dog", "dialog": one}])
    with pytest.raises(UserError, match="image 9: a round has 1 options, expected two or more"):
        sequences(DialogEncoder(split, PIECES), np.zeros(1, int), Draws(1, 0))
    with pytest.raises(UserError, match=r"data.fit: rounds of images 9 have one option, expected two or more"):
        check_answers(split)


def test_a_dialog_with_one_known_answer_can_be_trained_on(tmp_path):
    file = content()
    for dialog in file["data"]["dialogs"]:
        for said in dialog["dialog"][1:]:
            del said["gt_index"]
    split = load_split(write(tmp_path / "d.json", file))
    check_answers(split)
    found = sequences(DialogEncoder(split, PIECES), np.arange(4), Draws(1, 0))
    assert found.round.tolist() == [0, 0, 3, 3, 6, 6, 9, 9]


def test_dialogs_of_different_lengths():
    said = {"question": "is it", "answer": "yes", "answer_options": ["yes", "no"], "gt_index": 0}
    dialogs = [{"image_id": n, "caption": "dog", "dialog": [said] * (n + 1)} for n in range(3)]
    encoder = DialogEncoder(from_dialogs(dialogs), PIECES)
    found = sequences(encoder, np.array([2, 0, 1]), Draws(1, 0))
    assert found.dialog.tolist() == [0] * 6 + [1] * 2 + [2] * 4
    assert found.round.tolist() == [3, 3, 4, 4, 5, 5, 0, 0, 1, 1, 2, 2]
    assert np.bincount(sequences(encoder, np.arange(3), Draws(1, 0), per_image=3).dialog).tolist() == [2, 3, 3]


def test_compared_options(encoder):
    split, rounds = encoder.split, np.array([3, 17])
    found = compared_options(split, rounds, Draws(1, 2), count=4)
    assert found.shape == (2, 4)
    assert found[:, 0].tolist() == split.gt_index[rounds].tolist()
    assert all(len(set(row)) == 4 and set(row) <= set(range(5)) for row in found.tolist())
    assert np.array_equal(compared_options(split, rounds[1:], Draws(1, 2), count=4), found[1:])
    drawn = [compared_options(split, rounds[:1], Draws(1, e), count=2)[0, 1] for e in range(300)]
    counts = Counter(map(int, drawn))
    assert set(counts) == set(range(5)) - {int(split.gt_index[3])}
    assert min(counts.values()) > 45
    assert compared_options(split, rounds, Draws(1, 2), count=None).tolist() == [[0, 1, 2, 3, 4]] * 2
    with pytest.raises(UserError, match=r"data.dense_options=6, but judged rounds of images 100, 128 have fewer"):
        compared_options(split, rounds, Draws(1, 2), count=6)


def test_captions_of_other_images():
    first = np.array([0, 2, 3, 7])
    owner = np.array([0, 0, 1, 2, 2, 2, 2])
    items = np.arange(7)
    taken = {item: Counter() for item in range(7)}
    wrong = 0
    for epoch in range(300):
        captions, labels = other_captions(first, owner, items, Draws(1, epoch))
        assert (captions[labels == 0] == items[labels == 0]).all()
        assert (owner[captions[labels == 1]] != owner[labels == 1]).all()
        wrong += int(labels.sum())
        for item, caption, label in zip(items.tolist(), captions.tolist(), labels.tolist()):
            taken[item][caption] += label
    assert wrong / 2100 == pytest.approx(0.5, abs=0.05)
    for item in range(7):
        others = set(np.flatnonzero(owner != owner[item]).tolist())
        assert {caption for caption, count in taken[item].items() if count} == others
    captions, labels = other_captions(first, owner, items, Draws(1, 0), share=0)
    assert captions.tolist() == items.tolist()
    assert not labels.any()
    with pytest.raises(UserError, match="captions of one image alone"):
        other_captions(np.array([0, 2]), np.array([0, 0]), np.arange(2), Draws(1, 0))
