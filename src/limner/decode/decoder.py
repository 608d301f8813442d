"""What all decoders share: their options, and the way from a step's logits to log-probabilities and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.decode.result import Vocabulary
from limner.decode.rules import (
    Forbid,
    MinLength,
    NoBadEnding,
    NoRepeat,
    OnceOnly,
    Rule,
    Trigrams,
)
from limner.decode.top import log_total
from limner.errors import UserError, listing
from limner.word_lists import BAD_ENDINGS, REPEATABLE

Words = Sequence[str | int]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Options of every decoder. Words may be given as text (with a vocabulary) or as ids.

    Args:
        max_length: predicted tokens of a caption at most, EOS included; a caption cut there has no EOS.
        min_length: words of a caption at least: EOS is forbidden before.
        temperature: logits are divided by it, at every step.
        allow_unk: `<unk>` may appear. Without a vocabulary nobody knows its id, and it is a word like any other.
        forbid: words that never appear; those outside the vocabulary cannot appear anyway and are skipped.
        no_repeat: a word may not follow itself (the paper's rule).
        once_only: a word may appear once, unless it is in `repeatable` (the rule of the paper's release).
        repeatable: what `once_only` lets appear again.
        trigram_penalty: taken off the score of a word for each earlier appearance of the three words that it would
            complete; inf forbids them, None does nothing. (ImageCaptioning.pytorch's `block_trigrams`: 1.386.)
        no_bad_endings: EOS may not follow one of `bad_endings`. A caption cut at `max_length` may end with one.
        bad_endings: words that do not end a caption.
        rules: further rules `rule(scores (N,W), history (N,t))`, which edit scores in place and only lower them.
        attention: return the regions' weights for each token; without it nothing is kept.

    When rules forbid every token of a caption, it ends: EOS is then taken at its own log-probability. Rules decide
    what is chosen, never what it counts: `Decoded.logp` is the model's own, not renormalised over what is allowed.

    Raises:
        UserError: an option is out of range (all such options in one line); words are named without a vocabulary.
    """

    max_length: int = 20
    min_length: int = 0
    temperature: float = 1.0
    allow_unk: bool = False
    forbid: Words = ()
    no_repeat: bool = False
    once_only: bool = False
    repeatable: Words = REPEATABLE
    trigram_penalty: float | None = None
    no_bad_endings: bool = False
    bad_endings: Words = BAD_ENDINGS
    rules: Sequence[Rule] = ()
    attention: bool = False

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise UserError(f"decode: {'; '.join(faults)}")

    def faults(self) -> list[str]:
        """A line for each option that cannot be."""
        faults = []
        if not self.max_length >= 1:
            faults.append(f"max_length={self.max_length} (must be 1 or more)")
        if not 0 <= self.min_length <= self.max_length:
            faults.append(f"min_length={self.min_length} (must be between 0 and max_length={self.max_length})")
        if not 0 < self.temperature < float("inf"):
            faults.append(
                f"temperature={self.temperature} (must be more than 0; decode=greedy takes the likeliest word)"
            )
        if self.trigram_penalty is not None and not self.trigram_penalty >= 0:
            faults.append(f"trigram_penalty={self.trigram_penalty} (must be 0 or more, inf to forbid, null for none)")
        return faults

    def ids(self, option: str, words: int, vocabulary: Vocabulary | None) -> list[int]:
        """The ids that an option's words have."""
        named: Words = getattr(self, option)
        texts = [word for word in named if isinstance(word, str)]
        if texts and vocabulary is None:
            raise UserError(f"decode.{option} names words ({listing(texts)}): pass vocabulary=, or give ids")
        ids = [word for word in named if isinstance(word, int)]
        if wrong := [number for number in ids if not 0 <= number < words]:
            raise UserError(f"decode.{option}: found ids {listing(wrong)}, expected ids of words: 0 to {words - 1}")
        return ids + [vocabulary.ids[word] for word in texts if vocabulary is not None and word in vocabulary.ids]

    def all_rules(self, words: int, vocabulary: Vocabulary | None, device: torch.device) -> list[Rule]:
        """The rules that the options ask for, the user's own last."""

        def marked(option: str) -> Tensor:
            mask = torch.zeros(words + 1, dtype=torch.bool)
            mask[self.ids(option, words, vocabulary)] = True
            return mask.to(device)

        rules: list[Rule] = []
        never = self.ids("forbid", words, vocabulary)
        if not self.allow_unk and vocabulary is not None and vocabulary.unk is not None:
            never.append(vocabulary.unk)
        if never:
            rules.append(Forbid(torch.tensor(never, device=device)))
        if self.no_repeat:
            rules.append(NoRepeat())
        if self.once_only:
            rules.append(OnceOnly(marked("repeatable")))
        if self.trigram_penalty is not None:
            rules.append(Trigrams(self.trigram_penalty))
        if self.no_bad_endings:
            rules.append(NoBadEnding(marked("bad_endings")))
        if self.min_length:
            rules.append(MinLength(self.min_length))
        return rules + list(self.rules)

    def normalised(self, logits: Tensor, words: int) -> tuple[Tensor, Tensor]:
        """Logits at the temperature, and what is subtracted from them to give log-probabilities.

        Args:
            logits: (N,V+1) of any float type; half precision is widened, double stays double.

        Returns:
            (N,V+1) and (N,1).

        Raises:
            UserError: the model's output has another width, or is not finite.
        """
        if logits.shape[1] != words + 1:
            raise UserError(
                f"decode: the model predicts {logits.shape[1]:,} tokens, expected {words + 1:,}: words and EOS"
            )
        logits = logits.detach()
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.temperature != 1:
            logits = logits / self.temperature
        total = log_total(logits)
        if not total.isfinite().all():
            raise UserError("decode: the model's logits are not finite (nan or inf); look at the training loss")
        return logits, total


def region_weights(attention: Tensor | None) -> Tensor:
    """A step's attention, which the option `attention` needs."""
    if attention is None:
        raise UserError("decode.attention=true: this model returns no attention; set decode.attention=false")
    return attention.detach()
