"""Self-critical sequence training: samples, their rewards, a baseline, a loss, all chosen by config.

    batch -> sampler -> captions -> reward -> minus baseline = advantage -> loss = sum of -log p(caption) x advantage

Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning". A loss below zero is normal here: its value
says little, its gradient is what counts. Watch `sample_reward` and the validation score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.caption_split import References
from limner.data.caption_words import CaptionVocabulary
from limner.decode import Beam, Greedy, Sample
from limner.errors import UserError
from limner.losses import Loss
from limner.scst import samples as samplers
from limner.scst.baselines import BASELINES, baseline
from limner.scst.losses import LOSSES, USE_BASELINE, loss_of
from limner.scst.references import encoded, frequencies_of
from limner.scst.rewards import METRICS, Own, Rewards, ended
from limner.scst.watch import LEAST_REWARD, Watch
from limner.word_lists import BAD_ENDINGS

SAMPLERS = ("multinomial", "beam")
VERSION = 1
"""of what a signature means: a new number whenever equal signatures would no longer mean equal training"""


class SCST:
    """One way of self-critical training. `limner.schema.scst.SCST` explains each argument.

    Raises:
        UserError: one line with every option that cannot be.
    """

    def __init__(
        self,
        *,
        start_epoch: int = 0,
        sampler: str = "multinomial",
        samples: int = 5,
        temperature: float = 1.0,
        max_length: int = 20,
        no_repeat: bool = False,
        once_only: bool = False,
        baseline: str = "leave_one_out",
        loss: str = "policy_gradient",
        cider_d: float = 1.0,
        bleu_4: float = 0.0,
        rouge_l: float = 0.0,
        reward: Own | None = None,
        reward_weight: float = 1.0,
        count_end: bool = True,
        frequencies: str | Path | None = None,
        xe_weight: float = 0.0,
        cache: str | Path | None = None,
    ):
        self.start_epoch, self.sampler, self.samples, self.temperature = start_epoch, sampler, samples, temperature
        self.no_repeat, self.once_only = no_repeat, once_only
        self.baseline, self.loss, self.count_end, self.xe_weight = baseline, loss, count_end, xe_weight
        self.weights = {"cider_d": cider_d, "bleu_4": bleu_4, "rouge_l": rouge_l}
        self.own, self.own_weight = reward, reward_weight
        self.frequencies, self.cache = frequencies, cache
        if faults := self.faults():
            raise UserError(f"scst: {'; '.join(faults)}")
        rules: dict[str, Any] = {"max_length": max_length, "no_repeat": no_repeat, "once_only": once_only}
        self.greedy = Greedy(**rules)
        self.search = Beam(size=samples, **rules)
        # each sample has its own dropout from the first word on
        self.draw = Sample(n=samples, temperature=temperature, max_length=max_length, share_first=False)
        self.source = "none"
        """where the document frequencies come from"""

    def faults(self) -> list[str]:
        """A line for each option that cannot be."""
        found = [
            f"{key}={value} (choose one of {', '.join(choices)})"
            for key, value, choices in (
                ("sampler", self.sampler, SAMPLERS),
                ("baseline", self.baseline, BASELINES),
                ("loss", self.loss, LOSSES),
            )
            if value not in choices
        ]
        if self.samples < 2 and (self.loss not in USE_BASELINE or self.baseline in ("mean", "leave_one_out")):
            what = f"loss={self.loss}" if self.loss not in USE_BASELINE else f"baseline={self.baseline}"
            found.append(f"samples={self.samples} ({what} compares an image's samples: 2 or more)")
        if self.sampler == "beam" and self.temperature != 1:
            found.append(f"temperature={self.temperature} (sampler=beam draws nothing: 1.0)")
        if self.sampler == "multinomial" and (self.no_repeat or self.once_only):
            which = "no_repeat" if self.no_repeat else "once_only"
            found.append(
                f"{which}=true (sampler=multinomial draws from the model's distribution: sampler=beam has rules)"
            )
        if not any(self.weights.values()) and self.own is None:
            found.append("every reward has weight 0 (set cider_d=1.0, or reward to a function of yours)")
        if self.own is not None and not callable(self.own):
            found.append(f"reward={self.own!r} (name a function: {{_target_: package.function, _partial_: true}})")
        return found

    def prepare(self, references: References, vocabulary: CaptionVocabulary) -> None:
        """Encodes the training captions and counts, or reads, their document frequencies.

        Args:
            references: the training captions.
            vocabulary: the model's.

        Raises:
            UserError: see `frequencies_of`.
        """
        captions = encoded(references.split, vocabulary, end=self.count_end)
        counted = None
        if self.weights["cider_d"]:
            counted = frequencies_of(
                captions, vocabulary, count_end=self.count_end, file=self.frequencies, cache=self.cache
            )
            self.source = f"{'train' if self.frequencies is None else 'file'}:{counted.images} images"
        self.vocabulary = vocabulary
        self.rewards = Rewards(
            captions,
            vocabulary,
            **self.weights,
            frequencies=counted,
            count_end=self.count_end,
            own=self.own,
            own_weight=self.own_weight,
            texts=References(references.split, raw=True),
        )
        self.bad_endings = np.array([vocabulary.ids[word] for word in BAD_ENDINGS if word in vocabulary.ids], np.int64)
        length = float(captions.lengths.mean()) + (not self.count_end)
        self.watch = Watch(reference_length=length, least_reward=LEAST_REWARD if self.weights["cider_d"] else None)

    @property
    def signature(self) -> str:
        """How the model was trained, in one line, for every result."""
        rewards = [f"{METRICS[name]} {float(weight)}" for name, weight in self.weights.items() if weight]
        if self.own is not None:
            own = getattr(self.own, "func", self.own)  # a `_partial_` function
            rewards.append(f"{getattr(own, '__qualname__', type(own).__qualname__)} {float(self.own_weight)}")
        sampler = f"sampler={self.sampler} n={self.samples}"
        sampler += f" T={self.temperature:g}" if self.sampler == "multinomial" else ""
        sampler += " no-repeat" * self.no_repeat + " once-only" * self.once_only
        parts = [
            " + ".join(rewards),
            f"df={self.source}",
            f"end={'counted' if self.count_end else 'not counted'}",
            sampler,
        ]
        if self.loss in USE_BASELINE:
            parts.append(f"baseline={self.baseline.replace('_', '-')}")
        if self.loss != "policy_gradient":
            parts.append(f"loss={self.loss.replace('_', '-')}")
        if self.xe_weight:
            parts.append(f"xe={self.xe_weight:g}")
        return "; ".join([*parts, f"v{VERSION}"])

    def losses(self, model: Any, batch: dict[str, Any]) -> dict[str, Loss]:
        """The loss of a batch of images, and sums of what there is to see beside it.

        Args:
            model: a captioner with `begin`, `step`, `step_hidden`, `states`, `logits` and `word_layer`.
            batch: `id`, `feats`, `mask` and what else the model looks at; its captions are not used.
        """
        if self.sampler == "multinomial":
            drawn = samplers.multinomial(model, batch, self.draw, self.vocabulary)
        else:
            drawn = samplers.beam(model, batch, self.search, self.vocabulary)
        ids = batch["id"].cpu().numpy()
        rewards = self.reward_of(drawn.tokens, drawn.lengths, ids)
        compared = self.loss in USE_BASELINE
        greedy = None
        if compared and self.baseline == "greedy":
            found = samplers.decoded_by(self.greedy, model, batch, self.vocabulary)
            greedy = self.reward_of(found.tokens, found.lengths, ids)[:, 0]
        base = baseline(self.baseline if compared else "none", rewards, greedy)

        wide = drawn.hidden.dtype if drawn.hidden.dtype == torch.float64 else torch.float32
        to: dict[str, Any] = {"device": drawn.hidden.device, "dtype": wide}
        advantages = rewards - base
        learned, layer = samplers.as_drawn(
            drawn, model.word_layer, unknown=self.vocabulary.unk, temperature=self.temperature
        )
        loss = loss_of(self.loss, learned, layer, torch.as_tensor(rewards, **to), torch.as_tensor(advantages, **to))
        out = {"loss": loss, "sample_reward": summed(rewards)}
        if greedy is not None:
            out["greedy_reward"] = summed(greedy)
        if compared:
            out |= {
                "baseline": summed(base),
                "advantage": summed(advantages),
                "advantage_square": summed(advantages**2),
            }
        return out | self.endings(drawn.tokens, drawn.lengths)

    def reward_of(self, tokens: Tensor, lengths: Tensor, ids: np.ndarray) -> np.ndarray:
        """(I, n): the rewards of captions `tokens (I, n, T)`, `lengths (I, n)` of the images `ids (I,)`."""
        images, each = lengths.shape
        flat, sizes = tokens.flatten(0, 1).cpu().numpy(), lengths.flatten().cpu().numpy()
        return self.rewards(flat, sizes, ids.repeat(each)).reshape(images, each)

    def endings(self, tokens: Tensor, lengths: Tensor) -> dict[str, Loss]:
        """Sums over captions: words; 100 for each that ended by itself, and for each that ends with a word like `with`.

        The means are words a caption and percents.
        """
        flat, sizes = tokens.flatten(0, 1).cpu().numpy(), lengths.flatten().cpu().numpy()
        done = ended(flat, sizes, self.vocabulary.eos)
        words = sizes - done
        last = np.take_along_axis(flat, np.maximum(words - 1, 0)[:, None], 1)[:, 0]
        bad = (words > 0) & np.isin(last, self.bad_endings)
        return {"length": summed(words), "ended": summed(100 * done), "bad_endings": summed(100 * bad)}

    def warnings(self, found: dict[str, Loss]) -> list[str]:
        """What to tell the user after a step, given what `losses` returned; nothing, nearly always."""
        reward, words, done = (float(found[name].mean) for name in ("sample_reward", "length", "ended"))
        return self.watch.see(reward, words + done / 100)


def summed(values: np.ndarray) -> Loss:
    """The sum of numbers, and how many there are."""
    return Loss(torch.tensor(float(values.sum()), dtype=torch.float64), values.size)
