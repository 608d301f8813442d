"""Diverse beam search (Vijayakumar et al. 2018) with the Hamming penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.decode.beam import Beams
from limner.decode.length import normaliser
from limner.decode.result import Decoded, Vocabulary
from limner.decode.search import Search
from limner.decode.state import Step, first_leaf


@dataclass(frozen=True, kw_only=True)
class DiverseBeam(Beams):
    """Groups of beams that keep away from each other, as the authors' code runs them.

    Each group is a beam search of its own, of `size / groups` beams. At its t-th token, a group's scores are lowered by
    `diversity` for each beam of an earlier group that has this token (EOS too) as its t-th one. The groups are
    staggered, group g at token t - g when group 0 is at t: so the beams that group g looks at in group p are those
    that are still there g - p tokens later. (Algorithm 1 of the paper looks at those of the same token; the authors'
    code and its descendants, such as ImageCaptioning.pytorch, do this.) When a group has ended, its last beams count.

    A group needs only earlier groups, so they run one after the other here, with the result of running side by side.
    All but the last group go on until no beam is left, since later groups look at every beam.

    Args:
        size: captions an image, over all groups; a multiple of `groups`.
        groups: groups of beams. 1 is `Beam`.
        diversity: the penalty lambda, in nats.
        length_norm, alpha, finished: see `Beams`; the others: see `Decoder`.

    The result holds group after group, best first in each: the first caption is that of a plain beam search of
    `size / groups` beams. `score` holds the penalties, `logp` does not.
    """

    size: int = 6
    groups: int = 3
    diversity: float = 0.5

    def faults(self) -> list[str]:
        faults = super().faults()
        if not self.groups >= 1 or self.size < 1 or self.size % self.groups:
            faults.append(f"size={self.size} (must be a multiple of groups={self.groups}, both 1 or more)")
        if not self.diversity >= 0:
            faults.append(f"diversity={self.diversity} (must be 0 or more)")
        return faults

    @torch.no_grad()
    def __call__(
        self, step: Step, state: Any, *, words: int, vocabulary: Vocabulary | None = None, keys: Tensor | None = None
    ) -> Decoded:
        """`size` captions an image; arguments as for `Beam`."""
        beams: list[list[Tensor]] = []  # of each group, after each of its steps: tokens (I,B,T)

        def penalty(t: int, scores: Tensor, image: Tensor) -> None:
            group = len(beams)
            for earlier, steps in enumerate(beams):
                token = steps[min(t + group - earlier, len(steps) - 1)][:, :, t][image]  # [n, B]
                there = token <= words  # a word or EOS
                cost = scores.new_zeros(there.shape).masked_fill_(there, -self.diversity)
                scores.scatter_add_(1, token.masked_fill(~there, 0), cost)

        def watch(tokens: Tensor) -> None:
            there = (tokens <= words).flatten(1).any(1)[:, None, None]  # an image whose group has ended keeps its last
            steps.append(torch.where(there, tokens, steps[-1]) if steps else tokens)

        rules = self.all_rules(words, vocabulary, first_leaf(state).device)
        normalise = normaliser(self.length_norm, self.alpha)
        results: list[Decoded] = []
        start = None
        for group in range(self.groups):
            steps: list[Tensor] = []
            search = Search(
                self,
                words,
                rules,
                size=self.size // self.groups,
                keep=self.size // self.groups if group + 1 == self.groups else None,
                compete=self.finished == "compete",
                normalise=normalise,
                penalty=penalty if group else None,
                watch=watch,
            )
            start = start or search.begin(step, state)  # the first step is the same for all groups
            results.append(search.run(step, start))
            beams.append(steps)
        return joined(results, pad=words + 2)


def joined(parts: list[Decoded], pad: int) -> Decoded:
    """The captions of several searches of the same images, one after the other."""
    longest = max(part.tokens.shape[2] for part in parts)

    def cat(tensors: list[Tensor], fill: float) -> Tensor:
        """Joins (I,K,T,...) of different T along K."""
        wide = []
        for tensor in tensors:
            more = tensor.new_full((*tensor.shape[:2], longest - tensor.shape[2], *tensor.shape[3:]), fill)
            wide.append(torch.cat([tensor, more], 2))
        return torch.cat(wide, 1)

    weights = [part.attention for part in parts if part.attention is not None]
    return Decoded(
        tokens=cat([part.tokens for part in parts], pad),
        logp=torch.cat([part.logp for part in parts], 1),
        score=torch.cat([part.score for part in parts], 1),
        lengths=torch.cat([part.lengths for part in parts], 1),
        token_logp=cat([part.token_logp for part in parts], 0),
        attention=cat(weights, 0) if weights else None,
    )
