"""conf/decode, the schema and the decoders say the same."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import pytest
from omegaconf import OmegaConf

from limner import decode, preflight
from limner.build import parts
from limner.schema import decode as schema
from limner.schema.check import typed
from limner.schema.keys import documented
from limner.word_lists import BAD_ENDINGS, REPEATABLE

PAIRS = [
    (schema.Greedy, decode.Greedy),
    (schema.Sample, decode.Sample),
    (schema.Beam, decode.Beam),
    (schema.DiverseBeam, decode.DiverseBeam),
]
OPTIONS = preflight.group_options("decode", [])


@pytest.mark.parametrize(("described", "decoder"), PAIRS)
def test_the_schema_has_the_decoders_options_and_defaults(described, decoder):
    config, options = described(), {field.name: field.default for field in fields(decoder)}
    assert set(documented(described)) == set(options)
    for name, value in options.items():
        assert getattr(config, name) == (list(value) if isinstance(value, tuple) else value), name
    assert config._target_ == f"limner.decode.{decoder.__name__}"


@cache
def composed(option: str, *more: str):
    return preflight.compose("train", ["experiment=toy_vqa", f"decode={option}", *more], checked=False).decode


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_makes_a_decoder(option):
    node = composed(option)
    described = next(described for described, _ in PAIRS if described()._target_ == node._target_)
    assert list(typed(described, node, "decode.")) == []
    decoder = parts(node)()
    for name in documented(described):
        if isinstance(value := node[name], (bool, int, float, str, type(None))):
            assert getattr(decoder, name) == value
    assert list(decoder.repeatable) == list(REPEATABLE)  # YAML reads no word as true or false
    assert list(decoder.bad_endings) == list(BAD_ENDINGS)


def test_what_the_options_are():
    assert OPTIONS == [
        "beam3", "beam5", "diverse", "greedy", "nucleus", "sample", "topk", "updown_paper", "updown_release",
    ]  # fmt: skip
    made = {option: parts(composed(option))() for option in OPTIONS}
    assert (made["beam3"].size, made["beam5"].size) == (3, 5)
    assert (made["updown_paper"].no_repeat, made["updown_paper"].once_only) == (True, False)
    assert (made["updown_release"].no_repeat, made["updown_release"].once_only) == (True, True)
    assert (made["topk"].top_k, made["nucleus"].top_p, made["sample"].top_k) == (10, 0.9, None)
    assert not any(decoder.allow_unk for decoder in made.values())


def test_infinity_on_the_command_line():
    assert parts(composed("greedy", "decode.trigram_penalty=inf"))().trigram_penalty == float("inf")


def test_a_rule_of_ones_own_by_target():
    node = OmegaConf.create({"_target_": "limner.decode.Beam", "rules": [{"_target_": "limner.decode.rules.NoRepeat"}]})
    assert type(parts(node)().rules[0]).__name__ == "NoRepeat"
