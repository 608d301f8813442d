"""A beam wide enough to hold every caption finds the best ones, under every combination of rules and normalisations."""

from __future__ import annotations

import itertools

import brute_force
import pytest
from brute_force import Speaker, every_caption

from limner.decode import Beam

NORMS = [{"length_norm": "none"}, {"length_norm": "average"}, {"length_norm": "wu", "alpha": 0.7}]
RULES = [
    dict(zip(("no_repeat", "once_only", "trigram_penalty", "no_bad_endings", "min_length", "forbid"), values))
    for values in itertools.product([0, 1], [0, 1], [None, 0.7, float("inf")], [0, 1], [0, 2], [(), (1,)])
]
LISTS = {"repeatable": (0,), "bad_endings": (0, 2)}


@pytest.fixture(scope="module")
def speaker():
    return Speaker(words=3, images=2, seed=1)


def options(rules: dict, **more) -> dict:
    return {**{key: value for key, value in rules.items() if value}, **LISTS, "max_length": 4, **more}


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
def test_every_combination_of_rules(speaker, norm):
    for number, rules in enumerate(RULES):
        chosen = options(rules, **norm, temperature=(1.0, 0.6)[number % 2])
        expected = [every_caption(speaker, image, chosen) for image in range(speaker.images)]
        finished = ("compete", "aside")[number // 2 % 2]
        wide = Beam(size=150, finished=finished, attention=number % 5 == 0, **chosen)
        decoded = wide(speaker.step, speaker.begin(), words=speaker.words)
        brute_force.check(decoded, speaker, expected)


@pytest.mark.parametrize("finished", ["compete", "aside"])
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
@pytest.mark.parametrize("keep", [1, 3])
def test_stopping_early_finds_the_same(speaker, norm, finished, keep):
    """Wanting few captions gives the first of many, in fewer steps or with fewer rows."""
    for rules in RULES[::11]:
        chosen = options(rules, **norm)
        expected = [every_caption(speaker, image, chosen)[:keep] for image in range(speaker.images)]
        decoded = Beam(size=150, keep=keep, finished=finished, **chosen)(speaker.step, speaker.begin(), words=3)
        assert decoded.tokens.shape[1] == keep
        brute_force.check(decoded, speaker, expected)


def test_rules_matter(speaker):
    """Every value of every rule changes what is found: none of the above is tested in vain."""
    none = every_caption(speaker, 0, options({}))
    for rules in RULES:
        if sum(bool(value) for value in rules.values()) == 1:
            assert every_caption(speaker, 0, options(rules)) != none, rules
