"""Config of decoding: how captions are found with a trained captioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limner.schema.keys import key
from limner.word_lists import BAD_ENDINGS, REPEATABLE


@dataclass
class Greedy:
    """Its keys are shared by all decoders."""

    _target_: str = "limner.decode.Greedy"
    max_length: int = key(20, "tokens of a caption at most, its end included", low=1)
    min_length: int = key(0, "words of a caption at least", low=0)
    temperature: float = key(1.0, "logits are divided by it; below 1 prefers likely words", low=1e-6)
    allow_unk: bool = key(False, "captions may contain <unk>")
    forbid: list[Any] = key([], "words that never appear")
    no_repeat: bool = key(False, "a word may not follow itself (the paper's rule)")
    once_only: bool = key(False, "a word appears once, unless it is in repeatable (the rule of the paper's release)")
    repeatable: list[Any] = key(list(REPEATABLE), "words that once_only lets appear again")
    trigram_penalty: float | None = key(None, "nats off for each earlier appearance of the same three words; .inf: "
                                        "forbidden, null: free", low=0)  # fmt: skip
    no_bad_endings: bool = key(False, "a caption may not end after one of bad_endings")
    bad_endings: list[Any] = key(list(BAD_ENDINGS), "words that do not end a caption")
    rules: list[Any] = key([], "rules of your own, by _target_: rule(scores, history) lowers scores in place")
    attention: bool = key(False, "also return the regions' weights for each word")


@dataclass
class Sample(Greedy):
    _target_: str = "limner.decode.Sample"
    n: int = key(1, "captions drawn for an image", low=1)
    top_k: int | None = key(None, "draw from the k likeliest words; null: from all", low=1)
    top_p: float | None = key(None, "draw from the likeliest words that together reach this probability; null: from "
                              "all", low=0, high=1)  # fmt: skip
    share_first: bool = key(True, "run the first step once an image; false: once a caption (dropout of its own)")
    seed: int | None = key(None, "of the draws, so that an image always gets the same; null: from the run's seed")


@dataclass
class Beam(Greedy):
    _target_: str = "limner.decode.Beam"
    size: int = key(5, "beams an image", low=1)
    keep: int | None = key(None, "captions an image to return, found sooner when few; null: all beams", low=1)
    length_norm: str = key("none", "captions are ranked by log-probability, by that per token, or as in Wu et al. 2016",
                           choices=("none", "average", "wu"))  # fmt: skip
    alpha: float = key(0.9, "exponent of length_norm=wu", low=0)
    finished: str = key("compete", "ended captions hold a place among the beams, or are set aside",
                        choices=("compete", "aside"))  # fmt: skip


@dataclass
class DiverseBeam(Greedy):
    _target_: str = "limner.decode.DiverseBeam"
    size: int = key(6, "captions an image: a multiple of groups", low=1)
    groups: int = key(3, "groups of beams, each kept away from the ones before it", low=1)
    diversity: float = key(0.5, "nats off for each beam of earlier groups that has the word at the same place", low=0)
    length_norm: str = key("none", "captions are ranked by log-probability, by that per token, or as in Wu et al. 2016",
                           choices=("none", "average", "wu"))  # fmt: skip
    alpha: float = key(0.9, "exponent of length_norm=wu", low=0)
    finished: str = key("compete", "ended captions hold a place among the beams, or are set aside",
                        choices=("compete", "aside"))  # fmt: skip
