"""Toy questions: every answer is right by an oracle that reads only the text, and the text alone does not give it."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict

import pytest

from limner.data.toy import vqa
from limner.data.toy.world import COLORS, HEIGHT, SHAPES, WIDTH, dice, scenes
from limner.data.vqa_files import load_split, write_annotations, write_questions

SIZES = {"big": "big", "large": "big", "small": "small", "little": "small"}
SIDES = {
    "leftmost": "left", "furthest to the left": "left", "rightmost": "right", "furthest to the right": "right",
    "highest": "top", "at the very top": "top", "lowest": "bottom", "at the very bottom": "bottom",
}  # fmt: skip


def singular(word):
    return next((shape for shape in SHAPES if word in (shape, shape + "s", shape + "es")), None)


def select(things, words):
    """The things that a noun phrase fits, read word by word."""
    for word in words.split():
        if word in COLORS:
            things = [thing for thing in things if thing.color == word]
        elif word in SIZES:
            things = [thing for thing in things if thing.size == SIZES[word]]
        elif singular(word):
            things = [thing for thing in things if thing.shape == singular(word)]
        else:
            assert word in ("thing", "shape", "object", "things", "shapes", "objects"), f"unknown word {word!r}"
    return things


def the(things, words):
    """The one thing that "the ..." means."""
    for name, side in SIDES.items():
        if name in words:
            key = {"left": lambda t: t.x, "right": lambda t: -t.x, "top": lambda t: t.y, "bottom": lambda t: -t.y}[side]
            nearest = sorted(map(key, things))
            assert nearest[1] - nearest[0] >= 8
            return min(things, key=key)
    found = select(things, words)
    assert len(found) == 1, f"'the {words}' means {len(found)} things"
    return found[0]


def relation(first, words, second):
    apart = {"left": second.x - first.x, "right": first.x - second.x, "above": second.y - first.y,
             "below": first.y - second.y}[words]  # fmt: skip
    assert abs(apart) >= 14, "too close to call"
    return apart > 0


def oracle(question, things):
    """The answer to a question, from its text and the scene alone."""
    text = question.lower().rstrip("?")
    yes = {True: "yes", False: "no"}
    if found := re.fullmatch(r"how many (.+?)( are there| are in the picture)?", text):
        return str(len(select(things, found[1])))
    if found := re.fullmatch(r"(?:is there|do you see|does the picture show) an? (.+?)( in the picture)?", text):
        return yes[bool(select(things, found[1]))]
    if found := re.fullmatch(r"are there any (.+)", text):
        return yes[bool(select(things, found[1]))]
    if found := re.fullmatch(r"what (?:is the )?(color|shape) (?:is|of) the (.+)", text):
        return getattr(the(things, found[2]), found[1])
    if found := re.fullmatch(r"which is (higher|lower), the (.+) or the (.+)", text):
        first, second = the(things, found[2]), the(things, found[3])
        word = {"higher": "above", "lower": "below"}[found[1]]
        return (first if relation(first, word, second) else second).shape
    if found := re.fullmatch(
        r"(?:is the (.+) on the left or on the right|which side is the (.+) on, left or right)", text
    ):
        thing = the(things, found[1] or found[2])
        assert abs(thing.x - WIDTH / 2) >= 8
        return "left" if thing.x < WIDTH / 2 else "right"
    if found := re.fullmatch(r"is the (.+) (\w+) or (\w+)", text):
        assert {SIZES[found[2]], SIZES[found[3]]} == {"big", "small"}
        return the(things, found[1]).size
    if found := re.fullmatch(r"is the (.+) in the (left|right|top|bottom) half( of the picture)?", text):
        thing = the(things, found[1])
        place, middle = (thing.x, WIDTH / 2) if found[2] in ("left", "right") else (thing.y, HEIGHT / 2)
        assert abs(place - middle) >= 8
        return yes[(place < middle) == (found[2] in ("left", "top"))]
    if found := re.fullmatch(r"is the (.+?) (?:to the )?(left|right|above|below)(?: of)? the (.+)", text):
        return yes[relation(the(things, found[1]), found[2], the(things, found[3]))]
    if found := re.fullmatch(r"is the (?:color of the )?(.+) (\w+)", text):
        assert found[2] in COLORS
        return yes[the(things, found[1]).color == found[2]]
    raise AssertionError(f"the oracle does not understand {question!r}")


def accuracy(answer, annotation):
    """The official accuracy for ten answers."""
    agreeing = sum(given["answer"] == answer for given in annotation["answers"])
    return sum(min(1, (agreeing - (given["answer"] == answer)) / 3) for given in annotation["answers"]) / 10


@pytest.fixture(scope="module")
def train():
    shown = list(scenes("train", 600))
    return shown, *vqa.records(shown)


@pytest.fixture(scope="module")
def val():
    shown = list(scenes("val", 200))
    return shown, *vqa.records(shown)


def test_every_answer_is_right(train, val):
    for shown, *asked in (train, val):
        things = {scene.image_id: scene.things for scene in shown}
        for question, annotation in zip(*asked):
            assert annotation["multiple_choice_answer"] == oracle(question["question"], things[question["image_id"]])


def test_question_alone_stays_under_60_percent(train, val):
    """A reader without eyes: the usual answer to these very words, or to questions that begin alike."""
    by_text, by_type = defaultdict(Counter), defaultdict(Counter)
    for question, annotation in zip(*train[1:]):
        by_text[question["question"]][annotation["multiple_choice_answer"]] += 1
        by_type[annotation["question_type"]][annotation["multiple_choice_answer"]] += 1
    scores = []
    for question, annotation in zip(*val[1:]):
        seen = by_text.get(question["question"]) or by_type[annotation["question_type"]]
        scores.append(accuracy(seen.most_common(1)[0][0], annotation))
    assert 0.25 < sum(scores) / len(scores) < 0.45
    # and no wording that comes often gives its answer away
    for text, answers in by_text.items():
        if answers.total() >= 16:
            assert max(answers.values()) / answers.total() < 0.75, text


def test_a_perfect_model_can_reach_100_percent(val):
    for annotation in val[2]:
        said = Counter(given["answer"] for given in annotation["answers"])
        assert said.most_common(1)[0][0] == annotation["multiple_choice_answer"]
        assert accuracy(annotation["multiple_choice_answer"], annotation) == pytest.approx(1)


def test_people_disagree_but_not_too_much(train):
    most = [
        sum(given["answer"] == annotation["multiple_choice_answer"] for given in annotation["answers"])
        for annotation in train[2]
    ]
    assert min(most) >= 6
    assert 0.3 < sum(count < 10 for count in most) / len(most) < 0.7


def test_shares_and_number_of_questions(train):
    shown, questions, annotations = train
    assert 4.5 < len(questions) / len(shown) < 5.5
    kinds = Counter(annotation["answer_type"] for annotation in annotations)
    assert {kind: round(count / len(questions), 1) for kind, count in kinds.items()} == {
        "yes/no": 0.4, "number": 0.1, "other": 0.5
    }  # fmt: skip
    answers = Counter(annotation["multiple_choice_answer"] for annotation in annotations)
    assert 0.9 < answers["yes"] / answers["no"] < 1.1
    assert all(answers[color] > 0 for color in COLORS)
    assert all(answers[str(number)] > 0 for number in range(vqa.MOST + 1))
    for image in {question["image_id"] for question in questions[:200]}:
        asked = [question["question"] for question in questions if question["image_id"] == image]
        assert len(set(asked)) == len(asked)


def test_question_types_and_keys_are_official(val, shared):
    folder = shared / "golden/vqa/vqa_eval"
    with gzip.open(folder / "v2_mscoco_timbmgvalid_annotations.json.gz") as stream:
        official = json.load(stream)["annotations"]
    with gzip.open(folder / "v2_OpenEnded_mscoco_timbmgvalid_questions.json.gz") as stream:
        asked = json.load(stream)["questions"]
    known = {annotation["question_type"] for annotation in official}
    assert set(vqa.QUESTION_TYPES) <= known
    by_text = {question["question_id"]: question["question"] for question in asked}
    ours = [a for a in official if a["question_type"] in vqa.QUESTION_TYPES]
    same = [vqa.question_type(" ".join(by_text[a["question_id"]].split())) == a["question_type"] for a in ours]
    assert sum(same) / len(same) > 0.97  # the longest known beginning is the official rule too
    assert set(val[2][0]) == set(official[0]) - {"split"}
    assert set(val[2][0]["answers"][0]) == set(official[0]["answers"][0])
    assert set(val[1][0]) == set(asked[0]) - {"split"}


def test_files_have_the_official_keys_and_load(val, tmp_path):
    _, questions, annotations = val
    write_questions(tmp_path / "q.json", questions, **vqa.header("val", "toy"))
    write_annotations(tmp_path / "a.json", annotations, **vqa.header("val", "toy"))
    written, answered = json.loads((tmp_path / "q.json").read_text()), json.loads((tmp_path / "a.json").read_text())
    assert set(written) == {"info", "task_type", "data_type", "license", "data_subtype", "questions"}
    assert set(answered) == {"info", "data_type", "license", "data_subtype", "annotations"}
    assert {frozenset(entry) for entry in written["questions"]} == {frozenset(["image_id", "question", "question_id"])}
    keys = {"question_type", "multiple_choice_answer", "answers", "image_id", "answer_type", "question_id"}
    assert {frozenset(entry) for entry in answered["annotations"]} == {frozenset(keys)}
    for annotation in annotations:
        assert [given["answer_id"] for given in annotation["answers"]] == list(range(1, 11))
        assert {given["answer_confidence"] for given in annotation["answers"]} <= {"yes", "maybe", "no"}
    split = load_split(tmp_path / "q.json", tmp_path / "a.json")
    assert len(split) == len(questions)
    assert set(split.answer_types) == {"yes/no", "number", "other"}


def test_question_and_answer_types():
    assert vqa.question_type("What color is the star?") == "what color is the"
    assert vqa.question_type("Is there an orange star?") == "is there"
    assert vqa.question_type("Is there a star?") == "is there a"
    assert vqa.question_type("Heads or tails?") == "none of the above"
    assert [vqa.answer_type(answer) for answer in ("no", "7", "star")] == ["yes/no", "number", "other"]


def test_answers_of_ten_never_hand_the_majority_to_another():
    for answer in ("yes", "3", "red", "moon", "left"):
        for number in range(200):
            said = Counter(given["answer"] for given in vqa.ten_answers(answer, dice(number)))
            assert said.total() == 10
            assert said[answer] >= 6
