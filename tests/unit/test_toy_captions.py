"""Toy captions: Karpathy's format, five different true captions, words that a caption of the same scene shares."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from limner.data.toy.captions import CAPTIONS_AN_IMAGE, caption_file, captions
from limner.data.toy.words import NUMBERS
from limner.data.toy.world import COLORS, SHAPES, dice, file_name, scenes

SIZES = {"big": "big", "large": "big", "small": "small", "little": "small"}
NOUN = r"(?:(big|large|small|little) )?(%s) (%s)" % ("|".join(COLORS), "|".join(SHAPES))  # noqa: UP031
PLURALS = {shape + ("es" if shape == "cross" else "s"): shape for shape in SHAPES}


@pytest.fixture(scope="module")
def shown():
    return list(scenes("train", 150)) + list(scenes("val", 30)) + list(scenes("test", 20))


@pytest.fixture(scope="module")
def contents(shown):
    return caption_file(shown)


def test_format_is_karpathys(shown, contents):
    assert set(contents) == {"images", "dataset"}
    assert contents["dataset"] == "toy"
    sentence_ids = []
    for number, (scene, image) in enumerate(zip(shown, contents["images"])):
        assert set(image) == {"filename", "filepath", "split", "imgid", "cocoid", "sentids", "sentences"}
        assert (image["filename"], image["split"]) == (file_name(scene), scene.split)
        assert (image["imgid"], image["cocoid"]) == (number, scene.image_id)
        assert len(image["sentences"]) == CAPTIONS_AN_IMAGE
        for sentence in image["sentences"]:
            assert set(sentence) == {"tokens", "raw", "imgid", "sentid"}
            assert sentence["imgid"] == number
            assert sentence["tokens"] == sentence["raw"].lower().rstrip(".").split()
            assert re.fullmatch(r"[A-Z][a-z ]+\.", sentence["raw"])
        assert image["sentids"] == [sentence["sentid"] for sentence in image["sentences"]]
        sentence_ids += image["sentids"]
    assert sentence_ids == list(range(len(sentence_ids)))


def test_captions_are_true(shown, contents):
    for scene, image in zip(shown, contents["images"]):
        have = Counter((thing.color, thing.shape) for thing in scene.things)
        sized = {(thing.size, thing.color, thing.shape) for thing in scene.things}
        for sentence in image["sentences"]:
            text = " ".join(sentence["tokens"])
            mentions = re.findall(NOUN, text)
            assert all((color, shape) in have for _, color, shape in mentions), text
            assert all((SIZES[size], color, shape) in sized for size, color, shape in mentions if size), text
            for number, what in re.findall(r"\b(%s) ((?:\w+ )?\w+s)\b" % "|".join(NUMBERS), text):  # noqa: UP031
                color, noun = what.split() if what.split()[0] in COLORS else (None, what.split()[0])
                fits = [
                    thing
                    for thing in scene.things
                    if color in (None, thing.color) and PLURALS.get(noun, thing.shape) == thing.shape
                ]
                assert len(fits) == NUMBERS.index(number), text
            relation = re.search(rf"{NOUN} (?:is )?(?:to the )?(left of|right of|above|below) an? {NOUN}", text)
            if relation:
                _, color, shape, word, _, other_color, other_shape = relation.groups()
                pairs = [
                    {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[word]
                    for a in scene.named(color=color, shape=shape)
                    for b in scene.named(color=other_color, shape=other_shape)
                ]
                assert max(pairs) >= 14, text


def test_captions_differ_and_agree_on_what_strikes(shown):
    openings = Counter()
    for scene in shown:
        five = captions(scene, dice(1, scene.image_id, "captions"))
        assert len(set(five)) == 5
        big = [thing for thing in scene.things if thing.size == "big"] or scene.things
        first = min(big, key=lambda thing: (thing.x, thing.y))
        assert sum(f"{first.color} {first.shape}" in caption for caption in five) >= 3
        openings.update(caption.split()[0] for caption in five)
    assert {"a", "there"} <= set(openings)
    assert len(openings) > 3


def test_vocabulary_is_small_and_grammatical(contents):
    words = Counter(word for image in contents["images"] for s in image["sentences"] for word in s["tokens"])
    assert len(words) < 80
    text = "\n".join(s["raw"] for image in contents["images"] for s in image["sentences"]).lower()
    assert not re.search(r"\ba [aeiou]", text)
    assert not re.search(r"\ban [^aeiou]", text)
