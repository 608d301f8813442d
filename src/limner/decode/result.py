"""What every decoder returns."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Vocabulary(Protocol):
    """What decoding asks of a vocabulary (`limner.data.caption_words.CaptionVocabulary`)."""

    ids: dict[str, int]
    unk: int | None

    def decode(self, ids: list[int]) -> str: ...


class Decoded(NamedTuple):
    """K captions for each of I images, T = the longest one.

    Beams come best first (diverse beams: group by group, best first in each), samples in the order they were drawn.
    Where fewer than K captions exist (a tiny vocabulary), the last are empty: PAD, length 0, `logp` and `score` -inf.
    """

    tokens: Tensor  # (I,K,T) int64: words, EOS if the caption ended by itself, then PAD
    logp: (
        Tensor  # (I,K) log-probability of the caption, its EOS included: the model's own, at the decoder's temperature
    )
    score: Tensor  # (I,K) what captions were ranked by: `logp` with penalties and length normalisation
    lengths: Tensor  # (I,K) int64: predicted tokens, EOS included
    token_logp: Tensor  # (I,K,T) the terms of `logp`; 0 where PAD
    attention: Tensor | None  # (I,K,T,R) weights of the regions for each predicted token; 0 where PAD

    def texts(self, vocabulary: Vocabulary) -> list[list[str]]:
        """The captions of each image as text."""
        return [
            [vocabulary.decode(tokens[:length]) for tokens, length in zip(*image)]
            for image in zip(self.tokens.tolist(), self.lengths.tolist())
        ]


def live_rows(lengths: Tensor) -> list[Tensor]:
    """Which captions took part in each step: for t = 0, 1, ... the captions with more than t tokens.

    `Greedy` and `Sample` hand the step exactly these rows, in this order, so what a step function keeps from call to
    call (hidden states with their graph) can be joined with `Decoded` afterwards: `torch.cat(live_rows(lengths))` says
    which caption each kept row belongs to. With `Sample(share_first=True)` step 0 has one row an image instead.

    Args:
        lengths: (I,K) or (N,) `Decoded.lengths`.

    Returns:
        A list of (N_t,) ascending numbers of rows of the flattened (I*K) captions.
    """
    flat = lengths.flatten()
    longest = int(flat.max()) if len(flat) else 0
    return [torch.nonzero(flat > t).flatten() for t in range(longest)]
