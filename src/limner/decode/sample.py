"""Sampling captions from the model's distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.decode.decoder import Decoder
from limner.decode.draws import draw, nucleus, uniforms
from limner.decode.result import Decoded, Vocabulary
from limner.decode.rollout import rollout
from limner.decode.state import Step, first_leaf
from limner.decode.top import best


@dataclass(frozen=True, kw_only=True)
class Sample(Decoder):
    """Draws each word from the distribution at the temperature, cut to the likeliest words when asked.

    The draw is from what the rules, `top_k` and then `top_p` leave, renormalised; `logp` is the model's own
    log-probability at the temperature, not renormalised.

    Every draw takes one uniform number that depends on (seed, key of the image, sample, step) alone: with `keys` and a
    `seed`, an image has the same samples in every batch, order, number of processes, and whatever other captions do.

    Runs in the caller's gradient mode, so that a step function may keep hidden states with their graph:
    `limner.decode.result.live_rows` says which caption each row of each step belongs to.

    Args:
        n: captions an image.
        top_k: draw from the k likeliest words; None: from all.
        top_p: draw from the likeliest words that together reach this probability (nucleus); None: from all.
        share_first: run the first step once an image and not once a caption. False when dropout is on and each caption
            shall have its own.
        seed: of the draws; None: one is taken from torch's generator at each call.
    """

    n: int = 1
    top_k: int | None = None
    top_p: float | None = None
    share_first: bool = True
    seed: int | None = None

    def faults(self) -> list[str]:
        faults = super().faults()
        if not self.n >= 1:
            faults.append(f"n={self.n} (must be 1 or more)")
        if self.top_k is not None and not self.top_k >= 1:
            faults.append(f"top_k={self.top_k} (must be 1 or more, or null for all words)")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            faults.append(f"top_p={self.top_p} (must be above 0 and at most 1, or null for all words)")
        return faults

    def __call__(
        self, step: Step, state: Any, *, words: int, vocabulary: Vocabulary | None = None, keys: Tensor | None = None
    ) -> Decoded:
        """`n` captions an image, in the order they are drawn.

        Args:
            step, state, words, vocabulary: as for `Beam`.
            keys: (I,) int64, what the draws of each image depend on, such as its id; None: its row in the batch.
        """
        images = len(first_leaf(state))
        if keys is None:
            keys = torch.arange(images)
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed
        numbers = uniforms(seed, keys, self.n, self.max_length)

        def choose(t: int, scores: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            column = None
            if self.top_k is not None:
                scores, column = best(scores, self.top_k)
            if self.top_p is not None and self.top_p < 1:
                scores = nucleus(scores, self.top_p)
            drawn = draw(scores, numbers[t, row.cpu()])[:, None]
            token = drawn if column is None else column.gather(1, drawn)
            return token[:, 0], scores.gather(1, drawn)[:, 0]

        return rollout(
            self, step, state, choose, words=words, vocabulary=vocabulary, samples=self.n, share_first=self.share_first
        )
