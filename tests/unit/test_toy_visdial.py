"""Toy dialogs: official format, options, relevance, and answers that hold for the one thing "it" stands for."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter

import pytest

from limner.data.toy.phrases import bank
from limner.data.toy.visdial import visdial_files
from limner.data.toy.words import NUMBERS
from limner.data.toy.world import COLORS, HEIGHT, SHAPES, WIDTH, scenes

SIZES = {"big": "big", "large": "big", "small": "small", "little": "small"}
OUTERMOST = {"leftmost": lambda t: t.x, "rightmost": lambda t: -t.x, "highest": lambda t: t.y, "lowest": lambda t: -t.y}
SEEN = re.compile(r"what (else )?(do you see|can you see|is there|is in the picture)")


@pytest.fixture(scope="module")
def files():
    counts = {"train": 60, "val": 30, "test": 30}
    shown = {split: list(scenes(split, count)) for split, count in counts.items()}
    return {split: (shown[split], *visdial_files(shown[split], split)) for split in counts}


def fitting(things, words):
    for word in words.split():
        shape = next((s for s in SHAPES if word in (s, s + "s", s + "es")), None)
        if word in COLORS:
            things = [thing for thing in things if thing.color == word]
        elif word in SIZES:
            things = [thing for thing in things if thing.size == SIZES[word]]
        elif shape:
            things = [thing for thing in things if thing.shape == shape]
        else:
            assert word in ("one", "thing", "object", "shape", "shapes"), word
    return things


def only(things):
    assert len(things) == 1, f"{len(things)} things are meant"
    return things[0]


def answer_to(question, things, it, said):
    """What is right to say, and what "it" stands for afterwards: from the text and the scene alone.

    Where several things are right, `said`, what the answer says, tells which one is talked about.
    """
    if SEEN.fullmatch(question):
        it = only([thing for thing in things if (thing.color, thing.shape) == (said["color"], said["shape"])])
        return {"color": it.color, "shape": it.shape}, it
    if found := re.fullmatch(r"(?:is there|do you see) an? (.+)", question):
        fit = fitting(things, found[1])
        return {"yes": bool(fit)}, only(fit) if fit else it
    if found := re.fullmatch(r"what is the (\w+) shape", question):
        it = min(things, key=OUTERMOST[found[1]])
        return {"color": it.color, "shape": it.shape}, it
    if found := re.fullmatch(r"how many (.+) are there", question):
        return {"count": len(fitting(things, found[1]))}, it
    if found := re.fullmatch(r"(what color is|what shape is|is|where is) the (.+?)((?: big or small| \w+)?)", question):
        asked, name, more = found.groups()
        if asked != "is":
            name, more = name + more, ""
        it = only(fitting(things, name))
        question = f"{asked} it{more}"
    assert it is not None, f"{question!r}: nothing was brought up before"
    if found := re.fullmatch(r"how many others have the same (color|shape)", question):
        return {"count": sum(getattr(t, found[1]) == getattr(it, found[1]) for t in things) - 1}, it
    if question == "what color is it":
        return {"color": it.color}, it
    if question == "what shape is it":
        return {"shape": it.shape}, it
    if question == "is it big or small":
        return {"size": it.size}, it
    if question == "where is it":
        return {
            "vertical": "top" if it.y < HEIGHT / 2 else "bottom",
            "side": "left" if it.x < WIDTH / 2 else "right",
        }, it
    if found := re.fullmatch(r"is it (left of|right of|above|below) the (.+)", question):
        other = only(fitting(things, found[2]))
        assert other is not it
        apart = {
            "left of": other.x - it.x,
            "right of": it.x - other.x,
            "above": other.y - it.y,
            "below": it.y - other.y,
        }
        assert abs(apart[found[1]]) >= 14
        return {"yes": apart[found[1]] > 0}, it
    if found := re.fullmatch(r"is it (\w+)", question):
        word = found[1]
        return ({"yes": it.color == word} if word in COLORS else {"yes": it.size == SIZES[word]}), it
    raise AssertionError(f"the oracle does not understand {question!r}")


YES = re.compile(r"^(yes|yep|yeah|correct|there is$|it is$|it looks that way|i see one)")
NO = re.compile(r"^(no\b|nope|not at all|i don't think|it does not|it isn't|it is not|there is none|i see none)")


def read(answer):
    """What an answer says, read from its words; the facts named as in `answer_to`."""
    words = re.findall(r"[a-z']+|\d+", answer)
    if not re.search(r"can't|not sure|don't know|hard to tell|no idea", answer):
        said = {}
        if NO.match(answer):
            said["yes"] = False
        elif YES.match(answer):
            said["yes"] = True
        for word in words:
            said |= {"color": word} if word in COLORS else {}
            said |= {"shape": word} if word in SHAPES else {}
            said |= {"size": SIZES[word]} if word in SIZES else {}
            said |= {"side": word} if word in ("left", "right") else {}
            said |= {"vertical": {"upper": "top", "lower": "bottom"}.get(word, word)} if word in (
                "top", "bottom", "upper", "lower") else {}  # fmt: skip
            if (
                "yes" not in said
                and "size" not in said
                and (word.isdigit() or word in NUMBERS)
                and "thing" not in words
            ):
                said["count"] = int(word) if word.isdigit() else NUMBERS.index(word)
        return said
    return {}


def rounds(contents, split):
    data = contents["data"]
    for dialog in data["dialogs"]:
        for number, entry in enumerate(dialog["dialog"]):
            options = [data["answers"][option] for option in entry.get("answer_options", ())]
            yield dialog, number, data["questions"][entry["question"]], entry, options


def test_every_answer_is_right_and_it_is_one_thing(files):
    asked = Counter()
    for split in ("train", "val", "test"):
        shown, contents, _ = files[split]
        things = {scene.image_id: scene.things for scene in shown}
        it = None
        for dialog, number, question, entry, _ in rounds(contents, split):
            it = None if number == 0 else it
            if "answer" not in entry and SEEN.fullmatch(question):
                continue  # the last round of the test split, whose answer is hidden
            said = read(contents["data"]["answers"][entry["answer"]]) if "answer" in entry else {}
            right, it = answer_to(question, things[dialog["image_id"]], it, said)
            if "answer" in entry:
                if said.get("yes") is False and right.get("yes") is False:
                    said.pop("color", None)  # "no, it is blue"; checked as an option below
                assert said == right, (question, contents["data"]["answers"][entry["answer"]])
            asked[re.sub(r"\b(%s)\b" % "|".join(COLORS), "COLOR", question)] += 1  # noqa: UP031
    assert sum(count for text, count in asked.items() if re.search(r"\bit\b", text)) / asked.total() > 0.2
    assert any("the COLOR one" in text for text in asked)


def test_options_are_100_distinct_with_the_answer_at_gt_index(files):
    places = Counter()
    for split in ("train", "val"):
        for _, _, _, entry, options in rounds(files[split][1], split):
            assert set(entry) == {"answer", "gt_index", "question", "answer_options"}
            assert len(options) == len(set(options)) == 100
            assert entry["answer_options"][entry["gt_index"]] == entry["answer"]
            places[entry["gt_index"]] += 1
    assert len(places) > 90  # anywhere, not at a fixed place


def test_format_is_visdials(files, shared):
    folder = shared / "data/visdial_v1_97"
    with gzip.open(folder / "visdial_1.0_val_97.json.gz") as stream:
        official = json.load(stream)
    with gzip.open(folder / "visdial_1.0_val_dense_annotations_97.json.gz") as stream:
        official_dense = json.load(stream)
    for split in ("train", "val"):
        contents = files[split][1]
        assert set(contents) == set(official)
        assert contents["version"] == official["version"]
        assert set(contents["data"]) == set(official["data"])
        assert set(contents["data"]["dialogs"][0]) == set(official["data"]["dialogs"][0])
        assert set(contents["data"]["dialogs"][0]["dialog"][0]) == set(official["data"]["dialogs"][0]["dialog"][0])
        assert all(len(dialog["dialog"]) == 10 for dialog in contents["data"]["dialogs"])
        assert not any(text.endswith("?") for text in contents["data"]["questions"])  # nor do the official ones
    assert set(files["val"][2][0]) == set(official_dense[0])


def test_test_split_hides_the_answers(files):
    _, contents, dense = files["test"]
    assert dense is None
    lengths = Counter()
    for dialog in contents["data"]["dialogs"]:
        *before, last = dialog["dialog"]
        assert all(set(entry) == {"question", "answer"} for entry in before)
        assert set(last) == {"question", "answer_options"}
        assert len(set(last["answer_options"])) == 100
        lengths[len(dialog["dialog"])] += 1
    assert len(lengths) > 5


@pytest.mark.parametrize(("split", "key", "levels"), [("train", "relevance", 2), ("val", "gt_relevance", 5)])
def test_dense_relevance(files, split, key, levels):
    shown, contents, dense = files[split]
    things = {scene.image_id: scene.things for scene in shown}
    dialogs = {dialog["image_id"]: dialog for dialog in contents["data"]["dialogs"]}
    assert len(dense) == (len(shown) if split == "val" else len(shown) // 4)
    several = 0
    for entry in dense:
        assert set(entry) == {"image_id", "round_id", key}
        assert 1 <= entry["round_id"] <= 10
        assert len(entry[key]) == 100
        assert {round(value * levels, 6) for value in entry[key]} <= set(range(levels + 1))
        dialog, it = dialogs[entry["image_id"]]["dialog"], None
        scene = things[entry["image_id"]]
        for turn in dialog[: entry["round_id"]]:
            question = contents["data"]["questions"][turn["question"]]
            given = read(contents["data"]["answers"][turn["answer"]])
            right, it = answer_to(question, scene, it, given)
        assert entry[key][turn["gt_index"]] == 1
        several += sum(value > 0 for value in entry[key]) > 2
        for value, option in zip(entry[key], turn["answer_options"]):
            said = read(contents["data"]["answers"][option])
            if value > 0:  # every relevant option is true: nothing it says about the asked facts is wrong
                if SEEN.fullmatch(question):
                    assert any((thing.color, thing.shape) == (said["color"], said["shape"]) for thing in scene)
                    continue
                shared_facts = said.keys() & right.keys()
                assert shared_facts, (question, contents["data"]["answers"][option])
                assert all(said[fact] == right[fact] for fact in shared_facts)
                if right.get("yes") is False and "color" in said:
                    assert said["color"] == it.color
    assert several / len(dense) > 0.8


def test_no_phrase_has_two_meanings():
    phrases = [text for texts in bank().values() for text in texts]
    assert len(set(phrases)) == len(phrases) > 300


def test_no_question_is_asked_twice_about_the_same_thing(files):
    contents = files["train"][1]
    for dialog in contents["data"]["dialogs"]:
        texts = [contents["data"]["questions"][entry["question"]] for entry in dialog["dialog"]]
        plain = [text for text in texts if not re.search(r"\bit\b|others", text)]
        assert len(set(plain)) == len(plain)
