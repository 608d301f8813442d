"""What is said in toy dialogs: a bank of phrases with known meanings, and how likely each is offered as an option."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from limner.data.toy.words import NUMBERS, article
from limner.data.toy.world import COLORS, MOST_THINGS, SHAPES

Meaning = tuple[str, ...]

# How much likelier than any other phrase. Rivals, the usual answers of the kind asked for, are nearly always there:
# else the answer given would stand out as the one that is.
SHARES = {"right": 9.0, "partly": 3.0, "alike": 4.0, "rivals": 48.0, "usual": 4.0}


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


class Book(NamedTuple):
    """The bank as arrays over its P phrases, in order: how 100 of them are drawn quickly, many thousand times."""

    texts: list[str]
    of: dict[Meaning, np.ndarray]  # the numbers of a meaning's phrases
    weight: dict[str, np.ndarray]  # kind of answer asked for -> (P,) how often each phrase is drawn


def kind_of(meaning: Meaning) -> str:
    return "yes/no" if meaning[0] in ("yes", "no") else meaning[0]


@lru_cache(maxsize=1)
def phrase_book() -> Book:
    texts = [text for phrases in bank().values() for text in phrases]
    kinds = np.array([kind_of(meaning) for meaning, phrases in bank().items() for _ in phrases])
    ends = np.cumsum([len(phrases) for phrases in bank().values()])
    of = {meaning: np.arange(end - len(phrases), end) for (meaning, phrases), end in zip(bank().items(), ends)}
    usual = np.ones(len(texts))
    usual[[numbers[0] for numbers in of.values()]] = SHARES["usual"]
    alike = np.where(usual > 1, SHARES["rivals"], SHARES["alike"])
    weight = {kind: np.where(kinds == kind, alike, usual) for kind in set(kinds.tolist())}
    return Book(texts, of, weight)
