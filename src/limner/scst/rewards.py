"""Rewards of generated captions: a weighted sum of CIDEr-D, BLEU-4, ROUGE-L and a function of one's own.

A reward of your own is any callable that the config names:

    def brevity(captions: list[str], references: list[list[str]], *, image_ids: list[int]) -> list[float]:
        return [-abs(len(caption.split()) - 8) / 8 for caption in captions]

    limner train experiment=caption_scst 'scst.reward={_target_: my_rewards.brevity, _partial_: true}' scst.cider_d=0

`captions[k]` is a generated caption of the image `image_ids[k]`, `references[k]` are the texts that people wrote about
it. A class gets its arguments from the config and is called in the same way; it needs no `_partial_`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from limner.data.caption_words import CaptionVocabulary
from limner.errors import UserError
from limner.metrics.bleu import SentenceBleu
from limner.metrics.cider import CiderD
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.references import References
from limner.metrics.rouge import RougeL
from limner.metrics.sequences import ImageCaptions

Own = Callable[..., Any]
METRICS = {"cider_d": "CIDEr-D", "bleu_4": "BLEU-4", "rouge_l": "ROUGE-L"}


class Rewards:
    """The reward of captions of training images. References are counted when an image is first asked for.

    Args:
        captions: of the training images, with the end token if and only if `count_end`.
        vocabulary: the model's.
        cider_d, bleu_4, rouge_l: weights; a metric of weight 0 is not computed.
        frequencies: for CIDEr-D, counted as the captions are.
        count_end: the end of a caption is a word in generated captions and references. Without it a caption that breaks
            off at "with a" loses nothing (SacreEOS, arXiv 2305.12254).
        own, own_weight: a reward of one's own (see above). texts: image id -> captions as written, which it is given.
    """

    def __init__(
        self,
        captions: ImageCaptions,
        vocabulary: CaptionVocabulary,
        *,
        cider_d: float = 1.0,
        bleu_4: float = 0.0,
        rouge_l: float = 0.0,
        frequencies: DocumentFrequencies | None = None,
        count_end: bool = True,
        own: Own | None = None,
        own_weight: float = 1.0,
        texts: Mapping[int, Sequence[str]] | None = None,
    ):
        self.vocabulary, self.count_end = vocabulary, count_end
        self.own, self.own_weight, self.texts = own, own_weight, texts or {}
        references = References(captions)
        self.metrics: list[tuple[float, Any]] = []
        if cider_d:
            self.metrics.append((cider_d, CiderD(references, frequencies)))
        if bleu_4:
            self.metrics.append((bleu_4, SentenceBleu(references)))
        if rouge_l:
            self.metrics.append((rouge_l, RougeL(references)))

    def __call__(self, tokens: np.ndarray, lengths: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
        """The reward of each caption.

        Args:
            tokens: (N, T) ids: words, then the end token where the caption ended by itself, then anything.
            lengths: (N,) tokens, the end included.
            image_ids: (N,) the image of each.

        Returns:
            (N,) float64.

        Raises:
            UserError: an image has no references, or the user's function returns something else than N numbers.
        """
        words = lengths - ended(tokens, lengths, self.vocabulary.eos)
        counted = lengths if self.count_end else words
        total = np.zeros(len(lengths))
        for weight, metric in self.metrics:
            total += weight * metric.score(tokens, counted, image_ids)
        if self.own is not None:
            total += self.own_weight * self.own_reward(tokens, words, image_ids.tolist())
        return total

    def own_reward(self, tokens: np.ndarray, words: np.ndarray, image_ids: list[int]) -> np.ndarray:
        """What the user's function says about captions, given as texts."""
        assert self.own is not None
        captions = [self.vocabulary.decode(row[:count]) for row, count in zip(tokens.tolist(), words.tolist())]
        found = self.own(captions, [list(self.texts[image]) for image in image_ids], image_ids=image_ids)
        values = np.asarray(found, np.float64)
        if values.shape != (len(captions),) or not np.isfinite(values).all():
            what = f"shape {values.shape}" if values.shape != (len(captions),) else "numbers that are not finite"
            raise UserError(
                f"scst.reward: returned {what}, expected a finite number for each of {len(captions)} captions"
            )
        return values


def ended(tokens: np.ndarray, lengths: np.ndarray, eos: int) -> np.ndarray:
    """(N,) bool: did a caption end by itself, or was it cut?"""
    last = np.take_along_axis(tokens, np.maximum(lengths - 1, 0)[:, None], 1)[:, 0]
    return (last == eos) & (lengths > 0)
