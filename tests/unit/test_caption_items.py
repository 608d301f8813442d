"""Captions as numbers: batches against hand-made ones and against a plain loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_captions import SAID, karpathy

from limner.data.caption_files import load_captions
from limner.data.caption_items import CaptionItems, encoded
from limner.data.caption_split import CaptionSplit, References
from limner.data.caption_words import UNKNOWN, CaptionVocabulary
from limner.errors import UserError

WORDS = CaptionVocabulary([UNKNOWN, "a", "dog", "red", "ball"])  # EOS 5, BOS 6, PAD 7


def split_of(tmp_path, said: dict[int, list[list[str]]]) -> CaptionSplit:
    """A split of captions given as words."""
    images = [
        {"split": "s", "imgid": image, "sentences": [{"tokens": words} for words in captions]}
        for image, captions in said.items()
    ]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": images}))
    return load_captions(path)


SPOKEN = {
    7: [["a", "dog"], ["a", "red", "cat"]],
    3: [["ball"]],
    5: [["a", "dog", "a", "red", "ball"], [], ["dog", "dog", "dog"]],
}


def test_a_batch_made_by_hand(tmp_path):
    items = CaptionItems(split_of(tmp_path, SPOKEN), WORDS, max_length=3)
    assert items.split.image_id.tolist() == [3, 5, 7]
    assert items.first.tolist() == [0, 1, 3, 5]
    assert items.owner.tolist() == [0, 1, 1, 2, 2]
    batch = items.batch(np.array([1, 2, 3, 4]))
    expected = {
        "id": [5, 7],
        "image": [0, 0, 1, 1],
        "tokens": [
            [6, 1, 2, 1, 7],  # cut at three words: no end
            [6, 2, 2, 2, 5],  # three words and the end
            [6, 1, 2, 5, 7],
            [6, 1, 3, 0, 5],
        ],
        "lengths": [3, 4, 3, 4],
    }
    assert {key: value.tolist() for key, value in batch.items()} == expected
    assert {value.dtype for value in batch.values()} == {torch.int64}
    short = items.batch(np.array([0]))
    assert short["tokens"].tolist() == [[6, 4, 5]]
    assert (short["id"].tolist(), short["image"].tolist(), short["lengths"].tolist()) == ([3], [0], [2])
    twice = items.batch(np.array([0, 0, 3]))  # a caption drawn again
    assert twice["image"].tolist() == [0, 0, 1]
    assert twice["tokens"].tolist() == [[6, 4, 5, 7], [6, 4, 5, 7], [6, 1, 2, 5]]


def test_what_is_predicted_is_the_next_token(tmp_path):
    items = CaptionItems(split_of(tmp_path, SPOKEN), WORDS, max_length=16)
    batch = items.batch(np.arange(len(items)))
    for tokens, length in zip(batch["tokens"].tolist(), batch["lengths"].tolist()):
        assert tokens[0] == WORDS.bos
        assert tokens[length] == WORDS.eos
        assert all(token < len(WORDS) for token in tokens[1:length])
        assert tokens[length + 1 :] == [WORDS.pad] * (len(tokens) - length - 1)


@pytest.mark.parametrize("max_length", [1, 2, 4, 16])
def test_equals_a_plain_loop(tmp_path, max_length):
    rng = np.random.default_rng(max_length)
    table = [*WORDS.words[1:], "zebra", "mat"]
    said = {
        int(image): [[table[k] for k in rng.integers(0, 6, rng.integers(0, 6))] for _ in range(rng.integers(0, 4))]
        for image in rng.permutation(60)
    }
    items = CaptionItems(split_of(tmp_path, said), WORDS, max_length=max_length)
    flat = [(image, words) for image in sorted(said) for words in said[image] if words]
    assert len(items) == len(flat)
    for _ in range(20):
        chosen = np.sort(rng.integers(0, len(flat), 7))
        batch = items.batch(chosen)
        images = sorted({flat[c][0] for c in chosen})
        assert batch["id"].tolist() == images
        width = batch["tokens"].shape[1]
        for row, c in enumerate(chosen):
            image, words = flat[c]
            want = [WORDS.bos, *WORDS.encode(words)[:max_length]] + [WORDS.eos] * (len(words) <= max_length)
            assert batch["lengths"][row] == len(want) - 1
            assert batch["tokens"][row].tolist() == want + [WORDS.pad] * (width - len(want))
            assert images[batch["image"][row]] == image
        assert width == 1 + batch["lengths"].max()


def test_wordless_captions_are_not_learned(tmp_path):
    items = CaptionItems(split_of(tmp_path, SPOKEN), WORDS, max_length=16)
    assert items.wordless == 1
    assert len(items) == 5
    assert items.split.captions == 6  # as a reference it stays
    assert len(References(items.split, raw=False)[5]) == 3
    assert CaptionItems(split_of(tmp_path, {1: [[]], 2: [["a"]]}), WORDS, max_length=16).first.tolist() == [0, 0, 1]


def test_figures(tmp_path):
    items = CaptionItems(split_of(tmp_path, SPOKEN), WORDS, max_length=3)
    assert items.longest == 5
    assert items.unknown_share() == pytest.approx(1 / 14)
    assert items.cut_share() == pytest.approx(1 / 5)
    assert CaptionItems(items.split, WORDS, max_length=5).cut_share() == 0
    empty = CaptionItems(split_of(tmp_path, {1: []}), WORDS, max_length=3)
    assert (len(empty), empty.longest, empty.unknown_share(), empty.cut_share()) == (0, 0, 0, 0)


def test_encoded_is_what_encode_gives(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(karpathy()))
    for name in SAID:
        split = load_captions(path, split=name)
        want = [id_ for captions in References(split, raw=False).values() for w in captions for id_ in WORDS.encode(w)]
        assert encoded(split, WORDS).tolist() == want
        assert encoded(split, WORDS).dtype == np.int32


def test_a_vocabulary_without_unknown_words(tmp_path):
    split = split_of(tmp_path, SPOKEN)
    bare = CaptionVocabulary(["a", "dog", "red", "ball"])
    with pytest.raises(UserError, match=r"data\.captions: words not in the vocabulary of 4, .* no <unk>: 'cat';"):
        CaptionItems(split, bare, max_length=16)
    known = CaptionItems(split.take([0, 1]), bare, max_length=16)  # only the words of these images are looked at
    assert known.unknown_share() == 0
    assert known.batch(np.array([0]))["tokens"].tolist() == [[5, 3, 4]]
