"""What a caption may say next: rules that lower the scores of words, given the words so far.

A rule is any callable `rule(scores (N,W), history (N,t))` that edits `scores` in place: history holds the t words of
each live row (no BOS), columns 0..V-1 are the words and the last column is EOS. -inf forbids a token. A rule may only
lower scores (beam search stops early on that ground). Rules compose by running one after the other. When they forbid
everything, the caption ends: EOS is then allowed, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor], None]
NEVER = -torch.inf


class Forbid:
    """Some tokens never appear: `<unk>`, and the words a user names."""

    def __init__(self, ids: Tensor):
        self.ids = ids  # (F,)

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        scores.index_fill_(1, self.ids, NEVER)


class NoRepeat:
    """A word does not follow itself (the paper; `prevent_repeats` in its release)."""

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        if history.shape[1]:
            scores.scatter_(1, history[:, -1:], NEVER)


class OnceOnly:
    """A word appears once in a caption, unless it is one of some function words (the paper's release)."""

    def __init__(self, repeatable: Tensor):
        self.repeatable = repeatable  # (W,) bool

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        once = ~self.repeatable[history]
        scores.scatter_add_(1, history, scores.new_zeros(once.shape).masked_fill_(once, NEVER))


class Trigrams:
    """Three words in a row cost `penalty` for each time the caption already has them (inf: forbidden)."""

    def __init__(self, penalty: float):
        self.penalty = penalty

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        if history.shape[1] < 3:
            return
        again = (history[:, :-2] == history[:, -2:-1]) & (history[:, 1:-1] == history[:, -1:])  # [n, t - 2]
        scores.scatter_add_(1, history[:, 2:], scores.new_zeros(again.shape).masked_fill_(again, -self.penalty))


class NoBadEnding:
    """A caption does not end after one of some words. One that is cut at the maximum length may."""

    def __init__(self, bad: Tensor):
        self.bad = bad  # (W,) bool

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        if history.shape[1]:
            scores[:, -1].masked_fill_(self.bad[history[:, -1]], NEVER)


class MinLength:
    """A caption has at least so many words."""

    def __init__(self, words: int):
        self.words = words

    def __call__(self, scores: Tensor, history: Tensor) -> None:
        if history.shape[1] < self.words:
            scores[:, -1] = NEVER


def edited(logits: Tensor, history: Tensor, rules: list[Rule]) -> Tensor:
    """The logits as the rules leave them; a copy, for a caption's log-probability is the model's own."""
    if not rules:
        return logits
    logits = logits.clone()
    for rule in rules:
        rule(logits, history)
    return logits
