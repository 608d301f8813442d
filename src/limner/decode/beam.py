"""Beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.decode.decoder import Decoder
from limner.decode.length import NORMS, normaliser
from limner.decode.result import Decoded, Vocabulary
from limner.decode.search import Search
from limner.decode.state import Step, first_leaf

FINISHED = ("compete", "aside")


@dataclass(frozen=True, kw_only=True)
class Beams(Decoder):
    """What the two beam searches share.

    Args:
        length_norm: how captions of different lengths are compared: `none` by log-probability, `average` by
            log-probability per token, `wu` by log-probability / ((5 + length) / 6)^alpha. The length counts EOS.
        alpha: exponent of `wu`; 0 is `none`.
        finished: what an ended caption does. `compete`: it keeps its place among the beams and is not extended, until
            `size` better ones push it out (the paper's release). `aside`: it is set aside and `size` unfinished beams
            always go on, which searches wider and takes longer (ImageCaptioning.pytorch).
    """

    length_norm: str = "none"
    alpha: float = 0.9
    finished: str = "compete"

    def faults(self) -> list[str]:
        faults = super().faults()
        if self.length_norm not in NORMS:
            faults.append(f"length_norm={self.length_norm!r} (choose one of {', '.join(NORMS)})")
        if not 0 <= self.alpha < float("inf"):
            faults.append(f"alpha={self.alpha} (must be 0 or more)")
        if self.finished not in FINISHED:
            faults.append(f"finished={self.finished!r} (choose one of {', '.join(FINISHED)})")
        return faults


@dataclass(frozen=True, kw_only=True)
class Beam(Beams):
    """Beam search, exact in what it skips.

    The result is that of the plain algorithm (expand every beam, sort all continuations, go on to `max_length`).
    Skipped are only rows that cannot matter: the first step runs on one row an image, ended captions are not extended,
    and an image leaves the batch when no live beam can reach its wanted captions any more (`limner.decode.length`).

    Args:
        size: beams an image.
        keep: captions an image to return; None: `size`. They are the first of what `keep=size` returns, found sooner:
            the search of an image stops when they are settled.
        length_norm, alpha, finished: see `Beams`; the others: see `Decoder`.

    Equal scores are decided: an ended caption before a continuation, then the better beam, then the likelier token,
    then the lower token id.
    """

    size: int = 5
    keep: int | None = None

    def faults(self) -> list[str]:
        faults = super().faults()
        if not self.size >= 1:
            faults.append(f"size={self.size} (must be 1 or more)")
        elif self.keep is not None and not 1 <= self.keep <= self.size:
            faults.append(f"keep={self.keep} (must be between 1 and size={self.size}, or null for all)")
        return faults

    @torch.no_grad()
    def __call__(
        self, step: Step, state: Any, *, words: int, vocabulary: Vocabulary | None = None, keys: Tensor | None = None
    ) -> Decoded:
        """The best captions of each image.

        Args:
            step: `step(tokens (N,), state) -> (logits (N,V+1), state, attention (N,R) or None)`.
            state: one row an image; see `limner.decode.state.select`.
            words: V, so that EOS = V, BOS = V+1 and PAD = V+2.
            vocabulary: for options that name words, and for `<unk>`.
            keys: not used: nothing is drawn here.
        """
        search = Search(
            self,
            words,
            self.all_rules(words, vocabulary, first_leaf(state).device),
            size=self.size,
            keep=self.keep or self.size,
            compete=self.finished == "compete",
            normalise=normaliser(self.length_norm, self.alpha),
        )
        return search.run(step, search.begin(step, state))
