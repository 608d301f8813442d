"""Decoding by hand: a model whose next word depends on all that was said, and plain searches over Python lists."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

NONE = -float("inf")


class Told(NamedTuple):
    """The state of `Speaker`: which image, and everything it was fed."""

    image: torch.Tensor  # (N,)
    history: torch.Tensor  # (N,t)
    shared: object  # must pass through unchanged


class Speaker:
    """A random language model: logits and attention are a table by (image, words so far).

    `levels`: logits are drawn from so many whole numbers, so that many scores are equal. `ends`: added to EOS.
    """

    regions = 3

    def __init__(self, words: int, images: int, *, seed: int = 0, levels: int | None = None, ends: float = 0.0):
        self.words, self.images, self.seed, self.levels, self.ends = words, images, seed, levels, ends
        self.eos, self.bos, self.pad = words, words + 1, words + 2
        self.said: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = {}
        self.rows: list[list[tuple]] = []  # (image, history) of each row of each call of `step`

    def table(self, image: int, history: tuple) -> tuple[torch.Tensor, torch.Tensor]:
        key = (image, *history)
        if key not in self.said:
            random = np.random.default_rng([self.seed, 7, *key])
            logits = random.normal(size=self.words + 1) * 1.5
            if self.levels:
                logits = random.integers(0, self.levels, self.words + 1).astype(float)
            logits[-1] += self.ends
            self.said[key] = torch.from_numpy(logits), torch.from_numpy(random.dirichlet(np.ones(self.regions)))
        return self.said[key]

    @functools.cache  # noqa: B019 - a speaker lives as long as its test
    def logits(self, image: int, history: tuple, temperature: float) -> tuple[list[float], float]:
        """Logits at the temperature, and the log of the sum of their exponentials."""
        logits = self.table(image, history)[0] / temperature
        return logits.tolist(), float(torch.logsumexp(logits[None], 1))

    def begin(self) -> Told:
        return Told(torch.arange(self.images), torch.zeros(self.images, 0, dtype=torch.long), self)

    def step(self, tokens, state):
        assert state.shared is self
        history = torch.cat([state.history, tokens[:, None]], 1)
        assert (history[:, 0] == self.bos).all()
        rows = [(image, tuple(words[1:])) for image, words in zip(state.image.tolist(), history.tolist())]
        self.rows.append(rows)
        tables = [self.table(*row) for row in rows]
        logits = torch.stack([logits for logits, _ in tables])
        return logits, state._replace(history=history), torch.stack([attention for _, attention in tables])


class Caption(NamedTuple):
    score: float
    total: float  # with penalties
    tokens: tuple
    token_logp: tuple  # the model's own

    @property
    def logp(self):
        return sum(self.token_logp)


def next_words(speaker: Speaker, image: int, history: tuple, options: dict, taken: dict | None = None):
    """`[(token, score, own log-probability)]` of every token that may follow; `taken`: token -> penalty."""
    own, norm = speaker.logits(image, history, options.get("temperature", 1.0))
    eos = speaker.eos
    score = list(own)
    for word in options.get("forbid", ()):
        score[word] = NONE
    if options.get("no_repeat") and history:
        score[history[-1]] = NONE
    if options.get("once_only"):
        for word in history:
            if word not in options["repeatable"]:
                score[word] = NONE
    penalty = options.get("trigram_penalty")
    if penalty is not None and len(history) >= 2:
        trigrams = [history[i : i + 3] for i in range(len(history) - 2)]
        for word in range(len(score)):
            seen = trigrams.count((*history[-2:], word))
            score[word] -= penalty * seen if seen else 0.0
    if options.get("no_bad_endings") and history and history[-1] in options["bad_endings"]:
        score[eos] = NONE
    if len(history) < options.get("min_length", 0):
        score[eos] = NONE
    for word, cost in (taken or {}).items():
        score[word] -= cost
    if max(score) == NONE:
        score[eos] = own[eos]
    return [(word, s - norm, own[word] - norm) for word, s in enumerate(score) if s > NONE]


def worth(total: float, length: int, options: dict) -> float:
    """The score of a caption of `length` tokens."""
    norm, alpha = options.get("length_norm", "none"), options.get("alpha", 0.9)
    return {"none": total, "average": total / length, "wu": total / ((5 + length) / 6) ** alpha}[norm]


def every_caption(speaker: Speaker, image: int, options: dict) -> list[Caption]:
    """All captions that the options allow, best first."""
    found = []

    def grow(tokens, total, logps):
        for token, score, own in next_words(speaker, image, tokens, options):
            said, sum_, own_ = (*tokens, token), total + score, (*logps, own)
            if token == speaker.eos or len(said) == options["max_length"]:
                found.append(Caption(worth(sum_, len(said), options), sum_, said, own_))
            else:
                grow(said, sum_, own_)

    grow((), 0.0, ())
    return sorted(found, key=lambda caption: -caption.score)


class PlainBeam:
    """Beam search as one would write it down: no early stop, no batch. Ties: ended, better beam, likelier, lower id."""

    def __init__(self, speaker: Speaker, image: int, options: dict):
        self.speaker, self.image, self.options = speaker, image, options
        self.ended: list[Caption] = []
        self.live = [Caption(0.0, 0.0, (), ())]
        self.beams: list[Caption] = []  # that hold a place after the last step

    def step(self, t: int, taken: dict | None = None) -> None:
        """The t-th token; `taken`: token -> penalty."""
        options, children = self.options, []
        for rank, beam in enumerate(self.live):
            for token, score, own in next_words(self.speaker, self.image, beam.tokens, options, taken):
                total = beam.total + score
                child = Caption(worth(total, t + 1, options), total, (*beam.tokens, token), (*beam.token_logp, own))
                children.append(((-child.score, 1, rank, -score, token), child))
        if options.get("finished", "compete") == "compete":
            children += [((-caption.score, 0, rank, 0, 0), caption) for rank, caption in enumerate(self.ended)]
            self.ended = []
        chosen = [child for _, child in sorted(children, key=lambda entry: entry[0])[: options["size"]]]
        done = [c for c in chosen if c.tokens[-1] == self.speaker.eos or t + 1 == options["max_length"]]
        self.ended = sorted(self.ended + done, key=lambda caption: -caption.score)[: options["size"]]
        self.live = [c for c in chosen if c not in done]
        self.beams = chosen or self.beams


def plain_beam(speaker: Speaker, image: int, options: dict) -> list[Caption]:
    """The captions of a beam search, best first."""
    search = PlainBeam(speaker, image, options)
    for t in range(options["max_length"]):
        search.step(t)
    return search.ended


def plain_diverse(speaker: Speaker, image: int, options: dict) -> list[Caption | None]:
    """Groups side by side, group g at token t - g, penalised by what the beams of earlier groups have there now."""
    share, groups = options["size"] // options["groups"], options["groups"]
    searches = [PlainBeam(speaker, image, {**options, "size": share}) for _ in range(groups)]
    for t in range(options["max_length"] + groups - 1):
        for group, search in enumerate(searches):
            if 0 <= t - group < options["max_length"]:
                taken = dict.fromkeys(range(speaker.words + 1), 0.0)
                for caption in [caption for earlier in searches[:group] for caption in earlier.beams]:
                    if len(caption.tokens) > t - group:
                        taken[caption.tokens[t - group]] += options["diversity"]
                search.step(t - group, taken)
    captions = [search.ended + [None] * (share - len(search.ended)) for search in searches]
    return [caption for group in captions for caption in group]


def check(decoded, speaker: Speaker, expected: list[list[Caption | None]]) -> None:
    """`decoded` is `expected` (captions of each image): tokens, scores, log-probabilities, lengths, attention."""
    images, k, longest = decoded.tokens.shape
    assert images == len(expected)
    assert longest == max((len(c.tokens) for captions in expected for c in captions[:k] if c), default=0)
    nothing = Caption(NONE, NONE, (), ())
    for image, captions in enumerate(expected):
        captions = [caption or nothing for caption in captions[:k]] + [nothing] * (k - len(captions))
        pads = [(0,) * (longest - len(caption.tokens)) for caption in captions]
        tokens = [[*caption.tokens, *(speaker.pad for _ in pad)] for caption, pad in zip(captions, pads)]
        assert decoded.tokens[image].tolist() == tokens, image
        assert decoded.lengths[image].tolist() == [len(caption.tokens) for caption in captions]
        assert close(decoded.score[image], [caption.score for caption in captions])
        assert close(decoded.logp[image], [caption.logp if caption.tokens else NONE for caption in captions])
        assert close(decoded.token_logp[image], [[*c.token_logp, *pad] for c, pad in zip(captions, pads)])
        if decoded.attention is not None:
            zeros = torch.zeros(speaker.regions, dtype=torch.float64)
            rows = [[speaker.table(image, c.tokens[:t])[1] for t in range(len(c.tokens))] for c in captions]
            rows = [torch.stack([*row, *(zeros for _ in pad)]) for row, pad in zip(rows, pads)]
            assert torch.equal(decoded.attention[image], torch.stack(rows))


def close(found: torch.Tensor, wanted: list) -> bool:
    return np.allclose(found.numpy(), wanted, rtol=0, atol=1e-10)
