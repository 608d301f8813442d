"""Dialogs about scenes, in the JSON of VisDial 1.0: a caption, ten rounds, 100 options, dense relevance.

The one who asks brings up a thing ("is there a red star ?", "what is the leftmost shape ?") and goes on with "it"; "it"
is always the thing brought up last, and "the red one" the only red thing. Answers and options come from one bank of
phrases with known meanings, so which options are right is known for each round: the answer given, other words for it
(relevance 1 or a little less), and words that fit only in part (relevance below one half).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from limner.data.toy.captions import captions
from limner.data.toy.phrases import SHARES, Meaning, kind_of, phrase_book
from limner.data.toy.words import RELATIONS, Way, article, extreme, holds, phrase, plural, references, sides
from limner.data.toy.world import COLORS, SHAPES, Scene, Thing, dice

ROUNDS, OPTIONS = 10, 100
DENSE_TRAIN_SHARE = 4  # one of so many training dialogs has dense annotations (2,000 of 123,287 in VisDial)

Told = frozenset[tuple[Thing, str]]  # things and which of their properties is known: color, shape, size, where

_PROPERTIES = {"color": 5, "shape": 5, "size": 1, "where": 1}  # how often each is asked for
_SEEING = ("do you see", "can you see", "is there", "is in the picture")
_SAID = ("size", "color", "shape")  # the properties in a `limner.data.toy.words.Way`


class Round(NamedTuple):
    """A question, the meanings that answer it fully and in part, the thing that "it" stands for afterwards, and what
    question and answer tell of it."""

    question: str
    right: tuple[Meaning, ...]
    partly: tuple[Meaning, ...] = ()
    focus: Thing | None = None
    tells: Told = frozenset()


# ------------------------------------------------------------------------------------------------------------ rounds


def _yes_no(truth: bool, kind: str) -> tuple[tuple[Meaning, ...], tuple[Meaning, ...]]:
    """Meanings that are right and partly right; `kind` is `it` ("is it ...") or `there` ("is there ...")."""
    word, other = "yes" if truth else "no", "there" if kind == "it" else "it"
    return ((word,), (word, kind)), ((word, other),)


def _exists(scene: Scene, rng: random.Random) -> Round | None:
    """Brings up a thing, or asks for one that is not there: both in the same words."""
    if rng.random() < 0.5:
        thing = rng.choice(scene.things)
        way = _plain(scene, thing, rng)
        if way is None or way.count(None) < 2:  # more words would tell that it is there
            return None
        return _is_there(phrase(way, rng), True, thing, _in(way, thing), rng)
    color, shape = rng.choice(((None, rng.choice(SHAPES)), (rng.choice(tuple(COLORS)), None)))
    if scene.named(color=color, shape=shape):
        return None
    return _is_there(phrase((None, color, shape), rng), False, None, frozenset(), rng)


def _plain(scene: Scene, thing: Thing, rng: random.Random) -> Way | None:
    """The shape or the colour that points at a thing, where one does; else more words; None where none do."""
    ways = references(scene, thing)
    plain = [way for way in ways if way.count(None) == 2]
    return rng.choice(plain) if plain else ways[0] if ways else None


def _in(way: Way, thing: Thing) -> Told:
    """What a name tells of the thing it points at."""
    return frozenset((thing, kind) for kind, word in zip(_SAID, way) if word)


def _is_there(name: str, truth: bool, thing: Thing | None, tells: Told, rng: random.Random) -> Round:
    question = f"{rng.choice(['is there', 'do you see'])} {article(name)} ?"
    return Round(question, *_yes_no(truth, "there"), thing, tells)


def _outermost(scene: Scene, rng: random.Random) -> Round | None:
    """Brings up a thing by its place."""
    side, name = rng.choice((("left", "leftmost"), ("right", "rightmost"), ("top", "highest"), ("bottom", "lowest")))
    thing = extreme(scene, side)
    if thing is None:
        return None
    partly = (("shape", thing.shape), ("color", thing.color))
    tells = frozenset(((thing, "color"), (thing, "shape")))
    return Round(f"what is the {name} shape ?", (("thing", thing.color, thing.shape),), partly, thing, tells)


def _seen(scene: Scene, told: Told, rng: random.Random) -> Round | None:
    """Asks for any thing: all that nobody has spoken of are right, and one of them is given and then talked about."""
    alone = [thing for thing in scene.things if len(scene.named(color=thing.color, shape=thing.shape)) == 1]
    new = [thing for thing in alone if not any((thing, kind) in told for kind in _SAID)]
    if not new:
        return None
    rng.shuffle(new)
    right = tuple(dict.fromkeys(("thing", thing.color, thing.shape) for thing in new))
    tells = frozenset(((new[0], "color"), (new[0], "shape")))
    return Round(f"what {rng.choice(('', 'else '))}{rng.choice(_SEEING)} ?", right, (), new[0], tells)


def _named(scene: Scene, told: Told, rng: random.Random) -> Round | None:
    """Brings up a thing by its shape or its colour, and asks about it at once."""
    thing = rng.choice(scene.things)
    way = _plain(scene, thing, rng)
    if way is None:
        return None
    new = _property(thing, f"the {phrase(way, rng)}", told | _in(way, thing), rng)
    return new and new._replace(tells=new.tells | _in(way, thing))


def _count(scene: Scene, rng: random.Random) -> Round:
    thing = rng.choice(scene.things)
    color, shape = rng.choice([(None, None), (None, thing.shape), (thing.color, None), (None, rng.choice(SHAPES))])
    name = " ".join(word for word in (color, plural(shape) if shape else "shapes") if word)
    return Round(f"how many {name} are there ?", (("count", str(len(scene.named(color=color, shape=shape)))),))


def _property(thing: Thing, name: str, told: Told, rng: random.Random) -> Round | None:
    """Asks for the colour, shape, size or place of a thing, if that was not told; `name` is "it" or says which one."""
    free = {kind: share for kind, share in _PROPERTIES.items() if (thing, kind) not in told}
    if not free:
        return None
    kind = rng.choices(tuple(free), tuple(free.values()))[0]
    tells = frozenset(((thing, kind),))
    whole: tuple[Meaning, ...] = (("thing", thing.color, thing.shape),)
    check = rng.random() < 0.25  # a question for yes or no
    if kind == "color" and check:
        color = thing.color if rng.random() < 0.5 else rng.choice(tuple(COLORS))
        right, partly = _yes_no(color == thing.color, "it")
        more: tuple[Meaning, ...] = () if color == thing.color else (("no", "color", thing.color),)
        return Round(f"is {name} {color} ?", right + more, partly, thing, tells)
    if kind == "color":
        return Round(f"what color is {name} ?", (("color", thing.color),), whole, thing, tells)
    if kind == "shape":
        return Round(f"what shape is {name} ?", (("shape", thing.shape),), whole, thing, tells)
    if kind == "size" and check:
        size = rng.choice(["big", "small"])
        return Round(f"is {name} {size} ?", *_yes_no(size == thing.size, "it"), thing, tells)
    if kind == "size":
        return Round(f"is {name} big or small ?", (("size", thing.size),), (), thing, tells)
    vertical, side = sides(thing)
    if vertical is None or side is None:
        return None
    return Round(f"where is {name} ?", (("where", vertical, side),), (), thing, tells)


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


def _open(scene: Scene, told: Told, rng: random.Random) -> Round | None:
    """A round that needs no other."""
    draw = rng.random()
    if draw < 0.5:
        return _seen(scene, told, rng) if draw < 0.38 else _outermost(scene, rng)
    if draw < 0.65:
        return _exists(scene, rng) if draw < 0.61 else _count(scene, rng)
    return _named(scene, told, rng)


def _go_on(scene: Scene, focus: Thing, told: Told, rng: random.Random) -> Round | None:
    """A round about "it"."""
    draw = rng.random()
    if draw < 0.08:
        return _related(scene, focus, rng)
    return _others(scene, focus, rng) if draw < 0.12 else _property(focus, "it", told, rng)


def rounds(scene: Scene, rng: random.Random) -> list[Round]:
    """Ten rounds: a thing is brought up, the next round may go on with "it", then comes another thing.

    No question is asked twice about the same thing, and none whose answer has been told. People go on where the
    colour or the shape is open, which pictures say and habit does not; else in half of the cases.
    """
    found: list[Round] = []
    asked: set[tuple[str, Thing | None]] = set()
    told: Told = frozenset()
    focus: Thing | None = None  # of the round before, while it is talked about
    while len(found) < ROUNDS:
        new = _open(scene, told, rng) if focus is None else _go_on(scene, focus, told, rng)
        before, focus = focus, None
        if new is None or (new.question, before) in asked:
            continue
        asked.add((new.question, before))
        found.append(new)
        told |= new.tells
        if before is None and new.focus is not None:
            is_open = not {(new.focus, "color"), (new.focus, "shape")} <= told
            focus = new.focus if is_open or rng.random() < 0.5 else None
    return found


# ----------------------------------------------------------------------------------------------------------- options


_USUAL = 0.9  # how often people say the most usual phrase


def options(this: Round, rng: random.Random, numbers: np.random.Generator) -> tuple[np.ndarray, int, np.ndarray]:
    """100 distinct phrases (OPTIONS,) int64, the place of the answer given, and how right each is: 1, 0.4 (partly), 0.

    Weighted drawing without replacement by exponential keys (Efraimidis and Spirakis 2006): phrases of the kind asked
    for and those that people say often come up more often, as among VisDial's plausible and popular options.
    """
    book = phrase_book()
    right = np.concatenate([book.of[meaning] for meaning in this.right])
    # of several things that are right, the first is given: the dialog goes on with it
    said = book.of[this.right[0]] if this.right[0][0] == "thing" else right
    given = right[0] if rng.random() < _USUAL else rng.choice(said[1:])
    worth, weight = np.zeros(len(book.texts)), book.weight[kind_of(this.right[0])].copy()
    for meaning in this.partly:
        worth[book.of[meaning]], weight[book.of[meaning]] = 0.4, SHARES["partly"]
    worth[right], weight[right] = 1.0, SHARES["right"]
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
    data = {"questions": list(questions), "answers": phrase_book().texts, "dialogs": dialogs}
    return {"version": "1.0", "split": split, "data": data}, None if split == "test" else dense
