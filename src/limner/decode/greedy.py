"""Greedy decoding: the likeliest word, each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.decode.decoder import Decoder
from limner.decode.result import Decoded, Vocabulary
from limner.decode.rollout import rollout
from limner.decode.state import Step


@dataclass(frozen=True, kw_only=True)
class Greedy(Decoder):
    """The likeliest allowed word at each step; of equal ones the lowest id. One caption an image.

    Captions that have ended leave the batch, and decoding stops with the last one. Options: see `Decoder`.
    """

    @torch.no_grad()
    def __call__(
        self, step: Step, state: Any, *, words: int, vocabulary: Vocabulary | None = None, keys: Tensor | None = None
    ) -> Decoded:
        """One caption an image, K = 1; arguments as for `Beam`."""

        def choose(t: int, scores: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            score, token = scores.max(1)
            return token, score

        return rollout(self, step, state, choose, words=words, vocabulary=vocabulary)
