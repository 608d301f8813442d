"""How people name the things of the toy world: plurals, referring expressions, answers that mean the same."""

from __future__ import annotations

import random
from functools import lru_cache

from limner.data.toy.world import HEIGHT, WIDTH, Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
Way = tuple[str | None, str | None, str | None]  # size, color, shape as said of a thing; None: not said
ANYTHING = ("thing", "shape", "object")
SYNONYMS = {"big": ("big", "large"), "small": ("small", "little")}
RELATIONS = ("left of", "right of", "above", "below")
MARGIN = 14  # pixels between two centres before one is clearly left of, or above, the other
CLEAR = 8  # pixels from a middle line before a thing is clearly on one side of the picture

# What other annotators say instead, most likely first; VQA v2's ten answers differ in the same way.
CONFUSIONS = {
    "red": ("dark red", "orange"),
    "orange": ("red", "yellow"),
    "yellow": ("gold", "orange"),
    "green": ("dark green", "blue"),
    "blue": ("dark blue", "purple"),
    "purple": ("violet", "blue"),
    "brown": ("tan", "black"),
    "black": ("dark gray", "brown"),
    "circle": ("ball", "round", "dot"),
    "square": ("box", "rectangle"),
    "triangle": ("pyramid", "cone"),
    "diamond": ("rhombus", "square"),
    "star": ("sun", "pentagram"),
    "cross": ("plus", "plus sign"),
    "heart": ("love", "hearts"),
    "moon": ("crescent", "half moon"),
    "big": ("large", "medium"),
    "small": ("little", "tiny"),
    "left": ("left side", "on left"),
    "right": ("right side", "on right"),
    "yes": ("no",),
    "no": ("yes",),
}


def plural(shape: str) -> str:
    """`"cross"` -> `"crosses"`."""
    return shape + ("es" if shape.endswith("s") else "s")


def holds(first: Thing, relation: str, second: Thing) -> bool | None:
    """Whether `first` is left of, right of, above or below `second`; None where it is too close to call."""
    apart = {
        "left of": second.x - first.x,
        "right of": first.x - second.x,
        "above": second.y - first.y,
        "below": first.y - second.y,
    }[relation]
    return None if abs(apart) < MARGIN else apart > 0


def extreme(scene: Scene, side: str) -> Thing | None:
    """The thing furthest to the `left`, `right`, `top` or `bottom`; None where two are too close to call."""
    order = {
        "left": lambda thing: thing.x,
        "right": lambda thing: -thing.x,
        "top": lambda thing: thing.y,
        "bottom": lambda thing: -thing.y,
    }[side]
    first, second = sorted(scene.things, key=order)[:2]
    return first if order(second) - order(first) >= CLEAR else None


def sides(thing: Thing) -> tuple[str | None, str | None]:
    """`("top" | "bottom" | None, "left" | "right" | None)`: the half of the picture, None near the middle line."""
    across, down = thing.x - WIDTH / 2, thing.y - HEIGHT / 2
    horizontal = None if abs(across) < CLEAR else ("left" if across < 0 else "right")
    vertical = None if abs(down) < CLEAR else ("top" if down < 0 else "bottom")
    return vertical, horizontal


@lru_cache(maxsize=64)  # asked for again and again while one scene is talked about
def references(scene: Scene, thing: Thing) -> tuple[Way, ...]:
    """Every (size, color, shape) that points at this thing alone, shortest first."""
    size, color, shape = thing.size, thing.color, thing.shape
    ways: tuple[Way, ...] = (
        (None, None, shape),
        (None, color, None),
        (None, color, shape),
        (size, None, shape),
        (size, color, shape),
    )
    return tuple(way for way in ways if len(scene.named(size=way[0], color=way[1], shape=way[2])) == 1)


def phrase(way: Way, rng: random.Random, *, one: bool = False) -> str:
    """`(None, "red", "star")` -> `"red star"`; without a shape `"red thing"`, or `"red one"` if `one`."""
    size, color, shape = way
    noun = shape or ("one" if one else rng.choice(ANYTHING))
    return " ".join(word for word in (size and rng.choice(SYNONYMS[size]), color, noun) if word)


def article(words: str) -> str:
    """`"orange star"` -> `"an orange star"`."""
    return ("an " if words[0] in "aeiou" else "a ") + words
