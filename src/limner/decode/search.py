"""Beam search over a batch of images, with rows only for what is alive.

A beam lives as one row of `Live`; the rows of an image stand together, best first. Each step scores the rows' best
continuations in a table (I, size x size), chooses, and moves what has ended into `Ended`, a ranked list of at most
`size` captions an image. The model only ever sees rows that can still change the result.

Kept per row are the ids of its words and, for attention, back-pointers: which row of step t each word came from. What
is wide (states, attention, the scores of all words) is never copied from step to step, but for the state's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.decode.decoder import Decoder, region_weights
from limner.decode.length import Normalise
from limner.decode.result import Decoded
from limner.decode.rules import Rule, edited
from limner.decode.state import Step, first_leaf, select
from limner.decode.top import best

NONE = -torch.inf
Start = tuple[Tensor, Any, "Tensor | None"]


class Path(NamedTuple):
    """Captions so far: (N,T) in `Live`, (I,size,T) in `Ended`."""

    tokens: Tensor  # int64, PAD where nothing is said yet
    logp: Tensor  # the model's own log-probability of each token
    source: Tensor  # int64: the row of step t in which the token was predicted


class Live(NamedTuple):
    image: Tensor  # (N,) ascending
    slot: Tensor  # (N,) the row's place in the table: image * size + rank
    total: Tensor  # (N,) sum of the tokens' scores: log-probabilities less penalties
    path: Path


class Ended(NamedTuple):
    score: Tensor  # (I,size) best first, -inf where there is no caption
    length: Tensor  # (I,size)
    path: Path


class Chosen(NamedTuple):
    """The continuations that a step has chosen, (I,size), best first."""

    score: Tensor  # normalised as if the caption ended here; -inf: no such continuation
    row: Tensor  # its row of `Live`
    token: Tensor
    total: Tensor
    logp: Tensor  # of the token


class Search:
    """One search with fixed settings.

    Args:
        decoder: rules' and temperature's owner.
        words: V.
        rules: from `Decoder.all_rules`.
        size: beams an image.
        keep: captions an image that are wanted; the search of an image stops when these cannot change any more.
            None: when no beam is left (for diverse beams, where later groups look at all that this one says).
        compete: ended captions take a beam's place until better continuations push them out (the paper's release);
            otherwise they are set aside, and `size` beams always go on (ImageCaptioning.pytorch).
        normalise: score of a total at a length.
        penalty: edits a copy of the scores: `penalty(t, scores, image)`.
        watch: is given the beams after each step: tokens (I,B,T) with PAD where nothing is said. They are the
            continuations chosen in this step, those that end with it included, and what `compete` keeps.
    """

    def __init__(
        self,
        decoder: Decoder,
        words: int,
        rules: list[Rule],
        *,
        size: int,
        keep: int | None,
        compete: bool,
        normalise: Normalise,
        penalty: Callable[[int, Tensor, Tensor], None] | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ):
        self.decoder, self.words, self.rules = decoder, words, rules
        self.size, self.keep, self.compete, self.normalise = size, keep, compete, normalise
        self.penalty, self.watch = penalty, watch
        self.eos, self.bos, self.pad = words, words + 1, words + 2

    def begin(self, step: Step, state: Any) -> Start:
        """The first step: one row an image."""
        leaf = first_leaf(state)
        return step(torch.full((len(leaf),), self.bos, device=leaf.device), state)

    def run(self, step: Step, start: Start) -> Decoded:
        """Searches on from the first step's output."""
        logits, state, weights = start
        live, ended = self.empty(logits)
        attention = []
        for t in range(self.decoder.max_length):
            if t:
                logits, state, weights = step(live.path.tokens[:, t - 1], state)
            if self.decoder.attention:
                attention.append(region_weights(weights))
            chosen = self.choose(t, logits, live, ended)
            if self.compete:
                chosen, ended = self.pushed_out(chosen, ended)
            path = self.extended(t, chosen, live)
            if self.watch is not None:
                self.watch(self.beams(chosen, path, ended))
            live, ended = self.advance(t, chosen, path, ended)
            if not len(live.slot):
                break
            state = select(state, chosen.row.flatten()[live.slot])
        return self.decoded(ended, attention)

    def empty(self, logits: Tensor) -> tuple[Live, Ended]:
        """One empty beam an image, and no ended caption."""
        images, length = len(logits), self.decoder.max_length
        device, dtype = logits.device, torch.promote_types(logits.dtype, torch.float32)

        def path(*rows: int) -> Path:
            return Path(
                torch.full((*rows, length), self.pad, device=device),
                torch.zeros(*rows, length, device=device, dtype=dtype),
                torch.zeros(*rows, length, device=device, dtype=torch.int64),
            )

        image = torch.arange(images, device=device)
        live = Live(image, image * self.size, torch.zeros(images, device=device, dtype=dtype), path(images))
        score = torch.full((images, self.size), NONE, device=device, dtype=dtype)
        length_ = torch.zeros(images, self.size, device=device, dtype=torch.int64)
        return live, Ended(score, length_, path(images, self.size))

    def choose(self, t: int, logits: Tensor, live: Live, ended: Ended) -> Chosen:
        """The best `size` continuations of each image's beams.

        Equal scores: the better beam first, then the likelier token, then the lower id.
        """
        size, images = self.size, len(ended.score)
        logits, norm = self.decoder.normalised(logits, self.words)
        scores = edited(logits, live.path.tokens[:, :t], self.rules)
        if self.penalty is not None:
            scores = scores.clone() if scores is logits else scores
            self.penalty(t, scores, live.image)
        value, token = best(scores, size)  # [n, k]: an image takes at most `size` of one row
        stuck = value[:, 0] == NONE  # everything is forbidden: the caption ends
        value[:, 0] = torch.where(stuck, logits[:, self.eos], value[:, 0])
        token[:, 0] = torch.where(stuck, self.eos, token[:, 0])

        k = value.shape[1]
        total = live.total[:, None] + (value - norm)  # [n, k]
        table = total.new_full((images * size, k), NONE)
        table[live.slot] = self.normalise(total, t + 1)
        score, place = best(table.view(images, size * k), size)  # [i, size]
        row_of = torch.zeros(images * size, device=token.device, dtype=torch.int64)
        row_of[live.slot] = torch.arange(len(live.slot), device=token.device)
        first = torch.arange(images, device=token.device)[:, None] * size
        row, column = row_of[first + place // k], place % k
        token = token[row, column]
        logp = logits[row, token] - norm[row, 0]
        return Chosen(score, row, token, total[row, column], logp)

    def pushed_out(self, chosen: Chosen, ended: Ended) -> tuple[Chosen, Ended]:
        """Ended captions and continuations compete for the `size` places of an image; ended ones win ties."""
        size = self.size
        both = torch.cat([ended.score, chosen.score], 1)
        _, order = best(both, size)
        stays = torch.zeros_like(both, dtype=torch.bool).scatter_(1, order, True)
        return (
            chosen._replace(score=chosen.score.masked_fill(~stays[:, size:], NONE)),
            ended._replace(score=ended.score.masked_fill(~stays[:, :size], NONE)),
        )

    def extended(self, t: int, chosen: Chosen, live: Live) -> Path:
        """The chosen continuations with all that was said before, (I,size,T)."""
        path = Path(*(part[chosen.row] for part in live.path))
        path.tokens[:, :, t] = chosen.token
        path.logp[:, :, t] = chosen.logp
        path.source[:, :, t] = chosen.row
        return path

    def beams(self, chosen: Chosen, path: Path, ended: Ended) -> Tensor:
        """What `watch` is given."""
        tokens = path.tokens.masked_fill((chosen.score == NONE)[:, :, None], self.pad)
        kept = ended.path.tokens.masked_fill((ended.score == NONE)[:, :, None], self.pad)
        return torch.cat([tokens, kept], 1) if self.compete else tokens

    def advance(self, t: int, chosen: Chosen, path: Path, ended: Ended) -> tuple[Live, Ended]:
        """Splits the choice into captions that end here and beams that live on, and drops images that are done."""
        there = chosen.score > NONE
        ends = there & (chosen.token == self.eos) if t + 1 < self.decoder.max_length else there
        if ends.any():
            ended = self.added(t, chosen.score.masked_fill(~ends, NONE), path, ended)
        lives = there & ~ends
        if self.keep is not None:
            # the wanted captions are settled when no live beam can end with a better score than the last of them
            most = torch.where(lives, chosen.total, NONE).amax(1)
            most = self.normalise(most, self.decoder.max_length)
            lives &= (ended.score[:, self.keep - 1] < most)[:, None]
        slot = lives.flatten().nonzero().flatten()
        flat = Path(*(part.flatten(0, 1)[slot] for part in path))
        return Live(slot // self.size, slot, chosen.total.flatten()[slot], flat), ended

    def added(self, t: int, score: Tensor, path: Path, ended: Ended) -> Ended:
        """The best `size` of the ended captions and those that end now, whose scores are not -inf."""
        score, order = best(torch.cat([ended.score, score], 1), self.size)

        def taken(old: Tensor, more: Tensor) -> Tensor:
            both = torch.cat([old, more], 1)
            return both.gather(1, order.view(*order.shape, *(1,) * (both.dim() - 2)).expand(-1, -1, *both.shape[2:]))

        length = taken(ended.length, torch.full_like(ended.length, t + 1))
        return Ended(score, length, Path(*map(taken, ended.path, path)))

    def decoded(self, ended: Ended, attention: list[Tensor]) -> Decoded:
        """The first `keep` captions of each image, cut to the longest, empty where there is none."""
        keep = self.keep or self.size
        score, length, path = ended.score[:, :keep], ended.length[:, :keep], Path(*(p[:, :keep] for p in ended.path))
        there = score > NONE
        length = length * there
        longest = int(length.max()) if length.numel() else 0
        said = torch.arange(longest, device=length.device) < length[:, :, None]  # [i, k, t]
        tokens = path.tokens[:, :, :longest].masked_fill(~said, self.pad)
        token_logp = path.logp[:, :, :longest].masked_fill(~said, 0)
        logp = token_logp.sum(2).masked_fill(~there, NONE)
        weights = None
        if self.decoder.attention:
            at = [step[path.source[:, :, t]] * said[:, :, t, None] for t, step in enumerate(attention[:longest])]
            weights = torch.stack(at, 2)
        return Decoded(tokens, logp, score, length, token_logp, weights)
