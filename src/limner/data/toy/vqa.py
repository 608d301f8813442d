"""Questions and ten human-like answers about scenes, in the official JSON of VQA v2.

Balance is the point, as in VQA v2: for every kind of question, and for every question that comes back, the answer that
was used least is asked for next. Whoever reads only the question is right about as often as a guess; the pictures
decide. Question ids are `image_id * 1000 + k`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from limner.data.toy.words import (
    ANYTHING,
    CONFUSIONS,
    Way,
    article,
    extreme,
    phrase,
    plural,
    references,
    sides,
)
from limner.data.toy.world import COLORS, SHAPES, Scene, Thing, dice

QUESTIONS_AN_IMAGE = 5
_DRAWS = 6  # candidates looked at before the least used answer among them is taken

# Those of the 65 official question types that can occur here, longest first, so that the first match is the right one.
QUESTION_TYPES = (
    "what color are the", "what is the color of the", "what color is the", "how many", "what is the", "what color",
    "are there any", "is there a", "is there", "what is", "what", "which", "is this", "is the", "is it", "is", "do",
    "does the", "does this",
)  # fmt: skip
_BY_LENGTH = sorted(QUESTION_TYPES, key=len, reverse=True)


class Question(NamedTuple):
    """One question about a scene: `key` says what is asked, whatever the wording."""

    key: tuple
    text: str
    answer: str


def question_type(question: str) -> str:
    """The official VQA v2 question type: the longest listed beginning, or `none of the above`."""
    lowered = question.lower()
    return next((kind for kind in _BY_LENGTH if lowered.startswith(kind + " ")), "none of the above")


def answer_type(answer: str) -> str:
    """`yes/no`, `number` or `other`."""
    return "yes/no" if answer in ("yes", "no") else "number" if answer.isdigit() else "other"


# --------------------------------------------------------------------- kinds of questions: scene, dice -> one question


def _exists(scene: Scene, rng: random.Random) -> Question | None:
    thing, other = rng.choice(scene.things), rng.choice(scene.things)
    color, shape = thing.color if rng.random() < 2 / 3 else None, thing.shape
    if rng.random() < 0.5:  # likely absent, and hard: the color and the shape are there, not together
        color, shape = color and other.color, shape if rng.random() < 0.6 else rng.choice(SHAPES)
    name = f"{color} {shape}" if color else shape
    text = rng.choice(
        [f"Is there {article(name)}?", f"Is there {article(name)} in the picture?", f"Are there any {plural(name)}?",
         f"Does the picture show {article(name)}?", f"Do you see {article(name)}?"]
    )  # fmt: skip
    return Question(("exists", color, shape), text, "yes" if scene.named(color=color, shape=shape) else "no")


def _is_color(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    ways = [way for way in references(scene, thing) if way[1] is None]
    if not ways:
        return None
    color = thing.color if rng.random() < 0.5 else rng.choice([o.color for o in scene.things] + list(COLORS))
    way = ways[0]
    name = phrase(way, rng)
    text = rng.choice([f"Is the {name} {color}?", f"Is the color of the {name} {color}?"])
    return Question(("is color", way, color), text, "yes" if color == thing.color else "no")


def _in_half(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    ways, (vertical, horizontal) = references(scene, thing), sides(thing)
    side = rng.choice(["left", "right", "top", "bottom"])
    actual = vertical if side in ("top", "bottom") else horizontal
    if not ways or actual is None:
        return None
    name = phrase(ways[0], rng)
    text = rng.choice([f"Is the {name} in the {side} half?", f"Is the {name} in the {side} half of the picture?"])
    return Question(("half", ways[0], side), text, "yes" if actual == side else "no")


MOST = 4  # people, too, see up to four things at a glance and count beyond


def _count(scene: Scene, rng: random.Random) -> Question | None:
    draw, thing = rng.random(), rng.choice(scene.things)
    hue, form = (thing.color, thing.shape) if draw < 0.8 else (rng.choice(tuple(COLORS)), rng.choice(SHAPES))
    color, shape = rng.choice([(None, form), (hue, None)])
    number = len(scene.named(color=color, shape=shape))
    if number > MOST:
        return None
    name = plural(shape) if shape else f"{color} {rng.choice(ANYTHING)}s"
    text = rng.choice([f"How many {name} are there?", f"How many {name} are in the picture?", f"How many {name}?"])
    return Question(("count", color, shape), text, str(number))


_OUTERMOST = {
    "left": ("leftmost {}", "{} furthest to the left"),
    "right": ("rightmost {}", "{} furthest to the right"),
    "top": ("highest {}", "{} at the very top"),
    "bottom": ("lowest {}", "{} at the very bottom"),
}


def _pointed_out(scene: Scene, rng: random.Random, ways: Callable[[Thing], list[Way]]) -> tuple | None:
    """A thing, what points it out (for the key) and the words: the outermost on a side, or one of its `ways`."""
    if rng.random() < 0.3:
        side = rng.choice(tuple(_OUTERMOST))
        outermost = extreme(scene, side)
        return outermost and (outermost, (side,), rng.choice(_OUTERMOST[side]).format(rng.choice(ANYTHING)))
    thing = rng.choice(scene.things)
    named = ways(thing)
    return (thing, named[0], phrase(named[0], rng)) if named else None


def _color(scene: Scene, rng: random.Random) -> Question | None:
    found = _pointed_out(scene, rng, lambda thing: [way for way in references(scene, thing) if way[1] is None])
    if found is None:
        return None
    thing, way, name = found
    text = rng.choice([f"What color is the {name}?", f"What is the color of the {name}?"])
    return Question(("color", way), text, thing.color)


def _shape(scene: Scene, rng: random.Random) -> Question | None:
    def shapeless(thing: Thing) -> list[Way]:
        ways: list[Way] = [(None, thing.color, None), (thing.size, thing.color, None)]
        return [way for way in ways if len(scene.named(size=way[0], color=way[1])) == 1]

    found = _pointed_out(scene, rng, shapeless)
    if found is None:
        return None
    thing, way, name = found
    text = rng.choice([f"What shape is the {name}?", f"What is the shape of the {name}?"])
    return Question(("shape", way), text, thing.shape)


def _size(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    ways = [way for way in references(scene, thing) if way[0] is None]
    if not ways:
        return None
    way = rng.choice(ways[:2])
    big, small = rng.choice(["big or small", "small or big", "large or small"]).split(" or ")
    text = f"Is the {phrase(way, rng)} {big} or {small}?"
    return Question(("size", way), text, thing.size)


def _side(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    ways, horizontal = references(scene, thing), sides(thing)[1]
    if not ways or horizontal is None:
        return None
    way = rng.choice(ways[:2])
    text = rng.choice([f"Is the {phrase(way, rng)} on the left or on the right?",
                       f"Which side is the {phrase(way, rng)} on, left or right?"])  # fmt: skip
    return Question(("side", way), text, horizontal)


# Shares of the kinds: about 38 % yes/no, 12 % numbers, 50 % other, as in VQA v2. Relations between two things are left
# to the dialogs: one look at one place, which is what Up-Down attention is, hardly learns them.
KINDS: dict[Callable[[Scene, random.Random], Question | None], float] = {
    _exists: 0.19, _is_color: 0.14, _in_half: 0.05, _count: 0.12,
    _color: 0.20, _shape: 0.14, _size: 0.08, _side: 0.08,
}  # fmt: skip


class Balance:
    """Counts which answers were given to what, and picks the question whose answer is most overdue."""

    def __init__(self) -> None:
        self._used: Counter = Counter()

    def pick(self, candidates: list[Question]) -> Question:
        """The candidate whose answer was used least, among questions of its form and for this very question."""
        used = self._used

        def overdue(question: Question) -> tuple[int, int]:
            form, key, answer = _form(question.key), question.key, question.answer
            return used[form, answer], 2 * used[key, answer] - used[key]  # this answer less all others

        best = min(candidates, key=overdue)
        used.update([(_form(best.key), best.answer), (best.key, best.answer), best.key])
        return best


def _form(key: tuple) -> tuple:
    """The kind of a question and which of its slots are filled, whatever with: balance holds within each form."""
    return key[:1] + tuple(part is None if not isinstance(part, tuple) else len(part) for part in key[1:])


def questions(scene: Scene, balance: Balance, rng: random.Random) -> Iterator[Question]:
    """About five different questions on one scene."""
    asked: set[tuple] = set()
    kinds, shares = list(KINDS), list(KINDS.values())
    count = QUESTIONS_AN_IMAGE + rng.choice([-1, 0, 0, 0, 1])
    for _ in range(4 * count):
        kind = rng.choices(kinds, shares)[0]
        drawn = (kind(scene, rng) for _ in range(_DRAWS))
        candidates = [question for question in drawn if question and question.key not in asked]
        if candidates:
            best = balance.pick(candidates)
            asked.add(best.key)
            yield best
        if len(asked) == count:
            return


# ----------------------------------------------------------------------------------------------------- ten annotators


_DIFFER = (0.45, 0.25, 0.15, 0.10, 0.05)  # how often 0, 1, ... 4 of ten say something else


def ten_answers(answer: str, rng: random.Random) -> list[dict]:
    """Ten answers of people: most agree, some use another word or err. `answer` is given by at least six of ten."""
    if answer.isdigit():
        slips, differ = [str(max(0, int(answer) - 1)), str(int(answer) + 1)], rng.choices(range(5), _DIFFER)[0]
    elif answer_type(answer) == "yes/no":  # there is only one other answer, and four would count as fully right
        slips, differ = list(CONFUSIONS[answer]), rng.choices(range(3), [0.7, 0.2, 0.1])[0]
    else:
        slips, differ = list(CONFUSIONS[answer]), rng.choices(range(5), _DIFFER)[0]
    given = [answer] * (10 - differ) + [rng.choice(slips) for _ in range(differ)]
    rng.shuffle(given)
    sure = ("yes", "yes", "yes", "yes", "yes", "yes", "yes", "maybe", "maybe", "no")
    return [
        {"answer": said, "answer_confidence": rng.choice(sure) if said != answer or rng.random() < 0.2 else "yes",
         "answer_id": number}
        for number, said in enumerate(given, 1)
    ]  # fmt: skip


def annotation(*, question_id: int, image_id: int, question: str, answer: str, answers: list[dict]) -> dict:
    """One entry of an annotations file, with the official keys."""
    return {
        "question_type": question_type(question),
        "multiple_choice_answer": answer,
        "answers": answers,
        "image_id": image_id,
        "answer_type": answer_type(answer),
        "question_id": question_id,
    }


def header(subtype: str, description: str) -> dict:
    """The entries that stand before the list in an official questions or annotations file."""
    return {
        "info": {"description": description, "version": "2.0", "contributor": "limner"},
        "license": {"name": "Apache-2.0", "url": "http://www.apache.org/licenses/LICENSE-2.0"},
        "data_type": "toy",
        "data_subtype": subtype,
    }


def records(scenes: Iterable[Scene], *, seed: int = 1) -> tuple[list[dict], list[dict]]:
    """The question records and the annotation records for the scenes of one split."""
    balance, asked, annotations = Balance(), [], []
    for scene in scenes:
        rng = dice(seed, scene.image_id, "vqa")
        for number, (_, text, answer) in enumerate(questions(scene, balance, rng)):
            ids = {"question_id": scene.image_id * 1000 + number, "image_id": scene.image_id}
            asked.append({"image_id": scene.image_id, "question": text, "question_id": ids["question_id"]})
            annotations.append(annotation(**ids, question=text, answer=answer, answers=ten_answers(answer, rng)))
    return asked, annotations
