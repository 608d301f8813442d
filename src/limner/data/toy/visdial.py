"""Dialogs about scenes, in the JSON of VisDial 1.0: a caption, ten rounds, 100 options, dense relevance.

The one who asks brings up a thing ("is there a red star ?", "what is the leftmost shape ?") and goes on with "it"; "it"
is always the thing brought up last, and "the red one" the only red thing. Answers and options come from one bank of
phrases with known meanings, so which options are right is known for each round: the answer given, other words for it
(relevance 1 or a little less), and words that fit only in part (relevance below one half).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from limner.data.toy.captions import captions
from limner.data.toy.words import NUMBERS, RELATIONS, article, extreme, holds, phrase, plural, references, sides
from limner.data.toy.world import COLORS, MOST_THINGS, SHAPES, Scene, Thing, dice

ROUNDS, OPTIONS = 10, 100
DENSE_TRAIN_SHARE = 4  # one of so many training dialogs has dense annotations (2,000 of 123,287 in VisDial)

Meaning = tuple[str, ...]


class Round(NamedTuple):
    """A question, the meanings that answer it fully and in part, and the thing that "it" stands for afterwards."""

    question: str
    right: tuple[Meaning, ...]
    partly: tuple[Meaning, ...] = ()
    focus: Thing | None = None


@lru_cache(maxsize=1)
def bank() -> dict[Meaning, tuple[str, ...]]:
    """Meaning -> the phrases for it, most usual first. Every phrase stands under one meaning only."""
    phrases: dict[Meaning, tuple[str, ...]] = {
        ("yes",): ("yes", "yep", "yeah", "yes i think so", "it looks that way", "correct"),
        ("yes", "it"): ("yes it is", "yes, it is", "it is", "yeah it is"),
        ("yes", "there"): ("yes, there is", "yes there is", "there is", "yes i see one", "i see one, yes"),
        ("no",): ("no", "nope", "i don't think so", "it does not look that way", "not at all"),
        ("no", "it"): ("no it is not", "no, it isn't", "it isn't", "it is not"),
        ("no", "there"): (
            "no, there is not",
            "no there isn't",
            "there is none",
            "no i don't see one",
            "i see none, no",
        ),
        ("unsure",): ("i can't tell", "not sure", "i don't know", "can't say", "hard to tell", "i have no idea"),
    }
    for number in range(MOST_THINGS + 1):
        word, be = NUMBERS[number], "is" if number == 1 else "are"
        phrases["count", str(number)] = (
            str(number), word, f"there {be} {number}", f"there {be} {word}", f"i see {number}", f"i count {word}",
        )  # fmt: skip
    for color in COLORS:
        phrases["color", color] = (
            color, f"it is {color}", f"it's {color}", f"{color} i think", f"it looks {color}", f"the color is {color}",
        )  # fmt: skip
        phrases["no", "color", color] = (f"no, it is {color}", f"no it's {color}")
    for shape in SHAPES:
        a = article(shape)
        phrases["shape", shape] = (a, shape, f"it is {a}", f"it's {a}", f"it looks like {a}", f"{a} i think")
        for color in COLORS:
            a = article(f"{color} {shape}")
            phrases["thing", color, shape] = (a, f"it is {a}", f"it's {a}", f"{color} {shape}")
    phrases["size", "big"] = ("big", "it is big", "large", "it's large", "it is pretty big", "quite big", "a big one")
    phrases["size", "small"] = ("small", "it is small", "little", "it's little", "it is pretty small", "quite small",
                                "a small one")  # fmt: skip
    for vertical, upper in (("top", "upper"), ("bottom", "lower")):
        for side in ("left", "right"):
            phrases["where", vertical, side] = (
                f"{vertical} {side}", f"in the {vertical} {side}", f"at the {vertical} {side}",
                f"{upper} {side}", f"it is in the {upper} {side} corner",
            )  # fmt: skip
    return phrases


class _Book(NamedTuple):
    """The bank as arrays over its P phrases, in order: how 100 of them are drawn quickly, many thousand times."""

    texts: list[str]
    of: dict[Meaning, np.ndarray]  # the numbers of a meaning's phrases
    weight: dict[str, np.ndarray]  # kind of answer asked for -> (P,) how often each phrase is drawn


def _kind(meaning: Meaning) -> str:
    return "yes/no" if meaning[0] in ("yes", "no") else meaning[0]


@lru_cache(maxsize=1)
def _book() -> _Book:
    texts = [text for phrases in bank().values() for text in phrases]
    kinds = np.array([_kind(meaning) for meaning, phrases in bank().items() for _ in phrases])
    ends = np.cumsum([len(phrases) for phrases in bank().values()])
    of = {meaning: np.arange(end - len(phrases), end) for (meaning, phrases), end in zip(bank().items(), ends)}
    usual = np.ones(len(texts))
    usual[[numbers[0] for numbers in of.values()]] = _SHARES["usual"]
    weight = {kind: np.where(kinds == kind, _SHARES["alike"], usual) for kind in set(kinds.tolist())}
    return _Book(texts, of, weight)


# ------------------------------------------------------------------------------------------------------------ rounds


def _yes_no(truth: bool, kind: str) -> tuple[tuple[Meaning, ...], tuple[Meaning, ...]]:
    """Meanings that are right and partly right; `kind` is `it` ("is it ...") or `there` ("is there ...")."""
    word, other = "yes" if truth else "no", "there" if kind == "it" else "it"
    return ((word,), (word, kind)), ((word, other),)


def _introduce(scene: Scene, rng: random.Random) -> Round:
    """Brings up a thing: after this round "it" is clear."""
    side = rng.choice(["left", "right", "top", "bottom"])
    thing = extreme(scene, side)
    if thing is not None and rng.random() < 0.4:
        name = {"left": "leftmost", "right": "rightmost", "top": "highest", "bottom": "lowest"}[side]
        partly = (("shape", thing.shape), ("color", thing.color))
        return Round(f"what is the {name} shape ?", (("thing", thing.color, thing.shape),), partly, thing)
    thing = rng.choice(scene.things)
    ways = [way for way in references(scene, thing) if way[2]]
    if not ways:
        return _count(scene, None, rng)
    name = article(phrase(rng.choice(ways), rng))
    return Round(rng.choice([f"is there {name} ?", f"do you see {name} ?"]), *_yes_no(True, "there"), thing)


def _absent(scene: Scene, focus: Thing | None, rng: random.Random) -> Round | None:
    color, shape = rng.choice(scene.things).color, rng.choice(SHAPES)
    if scene.named(color=color, shape=shape):
        return None
    name = article(f"{color} {shape}")
    return Round(rng.choice([f"is there {name} ?", f"do you see {name} ?"]), *_yes_no(False, "there"), focus)


def _count(scene: Scene, focus: Thing | None, rng: random.Random) -> Round:
    thing = rng.choice(scene.things)
    color, shape = rng.choice([(None, None), (None, thing.shape), (thing.color, None), (None, rng.choice(SHAPES))])
    name = " ".join(word for word in (color, plural(shape) if shape else "shapes") if word)
    return Round(
        f"how many {name} are there ?", (("count", str(len(scene.named(color=color, shape=shape)))),), (), focus
    )


def _color(scene: Scene, focus: Thing, rng: random.Random) -> Round:
    if rng.random() < 0.6:
        return Round("what color is it ?", (("color", focus.color),), (("thing", focus.color, focus.shape),), focus)
    color = focus.color if rng.random() < 0.5 else rng.choice(tuple(COLORS))
    right, partly = _yes_no(color == focus.color, "it")
    more: tuple[Meaning, ...] = () if color == focus.color else (("no", "color", focus.color),)
    return Round(f"is it {color} ?", right + more, partly, focus)


def _shape(scene: Scene, focus: Thing, rng: random.Random) -> Round:
    return Round("what shape is it ?", (("shape", focus.shape),), (("thing", focus.color, focus.shape),), focus)


def _size(scene: Scene, focus: Thing, rng: random.Random) -> Round:
    if rng.random() < 0.6:
        return Round("is it big or small ?", (("size", focus.size),), (), focus)
    size = rng.choice(["big", "small"])
    return Round(f"is it {size} ?", *_yes_no(size == focus.size, "it"), focus)


def _where(scene: Scene, focus: Thing, rng: random.Random) -> Round | None:
    vertical, side = sides(focus)
    if vertical is None or side is None:
        return None
    return Round("where is it ?", (("where", vertical, side),), (), focus)


def _related(scene: Scene, focus: Thing, rng: random.Random) -> Round | None:
    """ "is it left of the red one ?": two references at once."""
    other, relation = rng.choice(scene.things), rng.choice(RELATIONS)
    ways, truth = references(scene, other), holds(focus, relation, other)
    if other is focus or truth is None or not ways:
        return None
    return Round(f"is it {relation} the {phrase(ways[0], rng, one=True)} ?", *_yes_no(truth, "it"), focus)


def _others(scene: Scene, focus: Thing, rng: random.Random) -> Round:
    color = rng.random() < 0.5
    alike = scene.named(color=focus.color) if color else scene.named(shape=focus.shape)
    question = f"how many others have the same {'color' if color else 'shape'} ?"
    return Round(question, (("count", str(len(alike) - 1)),), (), focus)


_ABOUT_IT = (_color, _shape, _size, _where, _related, _related, _others)


def rounds(scene: Scene, rng: random.Random) -> list[Round]:
    """Ten rounds without a repeated question about the same thing."""
    found: list[Round] = []
    seen: set[tuple] = set()
    focus: Thing | None = None
    while len(found) < ROUNDS:
        draw = rng.random()
        new: Round | None
        if focus is None or draw < 0.22:
            new = _introduce(scene, rng)
        elif draw < 0.32:
            new = rng.choice((_absent, _count))(scene, focus, rng)
        else:
            new = rng.choice(_ABOUT_IT)(scene, focus, rng)
        if new is None:
            continue
        about = new.focus if " it " in new.question or "others" in new.question else None
        if (new.question, about) not in seen:
            seen.add((new.question, about))
            found.append(new)
            focus = new.focus
    return found


# ----------------------------------------------------------------------------------------------------------- options


_SHARES = {"right": 9.0, "partly": 3.0, "alike": 4.0, "usual": 4.0}  # how much likelier than any other phrase


def options(this: Round, rng: random.Random, numbers: np.random.Generator) -> tuple[np.ndarray, int, np.ndarray]:
    """100 distinct phrases (OPTIONS,) int64, the place of the answer given, and how right each is: 1, 0.4 (partly), 0.

    Weighted drawing without replacement by exponential keys (Efraimidis and Spirakis 2006): phrases of the kind asked
    for and those that people say often come up more often, as among VisDial's plausible and popular options.
    """
    book = _book()
    right = np.concatenate([book.of[meaning] for meaning in this.right])
    given = right[rng.choices(range(len(right)), [1 / (1 + place) for place in range(len(right))])[0]]
    worth, weight = np.zeros(len(book.texts)), book.weight[_kind(this.right[0])].copy()
    for meaning in this.partly:
        worth[book.of[meaning]], weight[book.of[meaning]] = 0.4, _SHARES["partly"]
    worth[right], weight[right] = 1.0, _SHARES["right"]
    keys = numbers.standard_exponential(len(weight)) / weight
    keys[given] = -1.0  # always among the first
    chosen = np.argpartition(keys, OPTIONS - 1)[:OPTIONS]
    numbers.shuffle(chosen)
    return chosen, int((chosen == given).argmax()), worth[chosen]


def _judged(worth: np.ndarray, gt_index: int, levels: int, rng: random.Random) -> list[float]:
    """The share of `levels` annotators who found each option right; the answer given counts as right to all."""
    shares = [sum(rng.random() < 0.9 * value for _ in range(levels)) / levels if value else 0.0 for value in worth]
    shares[gt_index] = 1.0
    return shares


def visdial_files(scenes: Iterable[Scene], split: str, *, seed: int = 1) -> tuple[dict, list[dict] | None]:
    """The contents of a dialog file and of its dense annotations (None for test) for the scenes of one split.

    train: `relevance` for one of four dialogs, in halves (two annotators); val: `gt_relevance` for every dialog, in
    fifths. test: dialogs stop at a random round, whose question has options but neither answer nor `gt_index`.
    """
    questions: dict[str, int] = {}
    dialogs, dense = [], []
    for number, scene in enumerate(scenes):
        rng = dice(seed, scene.image_id, "visdial")
        numbers = np.random.default_rng(rng.getrandbits(64))
        caption = rng.choice(captions(scene, dice(seed, scene.image_id, "captions")))
        talk = rounds(scene, rng)
        judged = rng.randrange(ROUNDS)
        talk = talk[: judged + 1] if split == "test" else talk
        entries = []
        for index, this in enumerate(talk):
            chosen, gt_index, worth = options(this, rng, numbers)
            entry = {"question": questions.setdefault(this.question.removesuffix(" ?"), len(questions))}
            if split != "test" or index < judged:
                entry["answer"] = int(chosen[gt_index])
            if split != "test":
                entry["gt_index"] = gt_index
            if split != "test" or index == judged:
                entry["answer_options"] = chosen.tolist()
            entries.append(entry)
            if index == judged:
                ids = {"image_id": scene.image_id, "round_id": index + 1}
                if split == "val":
                    dense.append({**ids, "gt_relevance": _judged(worth, gt_index, 5, rng)})
                elif split == "train" and number % DENSE_TRAIN_SHARE == 0:
                    dense.append({**ids, "relevance": _judged(worth, gt_index, 2, rng)})
        dialogs.append({"image_id": scene.image_id, "caption": caption, "dialog": entries})
    data = {"questions": list(questions), "answers": _book().texts, "dialogs": dialogs}
    return {"version": "1.0", "split": split, "data": data}, None if split == "test" else dense
