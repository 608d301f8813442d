"""The captions of a split as numbers, ready to be put into batches: a few flat arrays, no object a caption."""

from __future__ import annotations

import numpy as np
import torch

from limner.data.caption_split import CaptionSplit
from limner.data.caption_words import CaptionVocabulary
from limner.errors import UserError


class CaptionItems:
    """Encoded captions of a split, those that have a word.

    At the size of COCO's training captions (566,747) these arrays take about 40 MB.

    Args:
        split: images and captions.
        words: the captioner's words. Others become `<unk>`.
        max_length: first words of a caption that are learned. A longer caption is cut and has no end.

    Attributes:
        tokens (M,) int32 ids of all words of all captions, offsets (C+1,) where each caption begins: uncut.
        first (I+1,): the captions of image i are first[i] .. first[i+1] - 1.
        owner (C,): the image of each caption, as a place in the split.
        counts (C,): words of each caption, uncut.
        lengths (C,): tokens to predict: words and EOS, or `max_length` words.

    Raises:
        UserError: for a word that is not in a vocabulary without `<unk>`.
    """

    def __init__(self, split: CaptionSplit, words: CaptionVocabulary, *, max_length: int) -> None:
        self.split, self.words, self.max_length = split, words, max_length
        self.tokens = encoded(split, words)
        counts = np.diff(split.offsets)
        spoken = counts > 0  # a full stop alone has no word: nothing to learn from
        self.counts = counts[spoken]
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        self.owner = np.repeat(np.arange(len(split)), np.diff(split.first))[spoken]
        self.first = np.searchsorted(self.owner, np.arange(len(split) + 1))
        self.lengths = np.where(self.counts > max_length, max_length, self.counts + 1)

    def __len__(self) -> int:
        """Captions."""
        return len(self.owner)

    @property
    def wordless(self) -> int:
        """Captions of the split without a word, which are not here."""
        return self.split.captions - len(self)

    @property
    def longest(self) -> int:
        """Words of the longest caption, uncut."""
        return int(self.counts.max(initial=0))

    def unknown_share(self) -> float:
        """The share of all words that are `<unk>`."""
        return float((self.tokens == self.words.unk).mean()) if len(self.tokens) and self.words.unk is not None else 0.0

    def cut_share(self) -> float:
        """The share of captions longer than `max_length`."""
        return float((self.counts > self.max_length).mean()) if len(self) else 0.0

    def batch(self, captions: np.ndarray) -> dict[str, torch.Tensor]:
        """A batch of some captions, those of an image together.

        Args:
            captions: (N,) places, by non-decreasing image.

        Returns:
            `id (I,)` the images, ascending; `image (N,)` each caption's row among them; `tokens (N,T+1)` BOS, words,
            EOS unless the caption was cut, then PAD; `lengths (N,)` tokens to predict, T the largest. All int64.
        """
        distinct, image = np.unique(self.owner[captions], return_inverse=True)
        lengths = self.lengths[captions]
        words = np.minimum(self.counts[captions], self.max_length)
        tokens = np.full((len(captions), 1 + int(lengths.max(initial=0))), self.words.pad, np.int64)
        tokens[:, 0] = self.words.bos
        columns = np.arange(tokens.shape[1] - 1)
        inside = columns < words[:, None]
        tokens[:, 1:][inside] = self.tokens[(self.offsets[captions][:, None] + columns)[inside]]
        ended = np.flatnonzero(lengths > words)
        tokens[ended, lengths[ended]] = self.words.eos
        return {
            "id": torch.from_numpy(self.split.image_id[distinct]),
            "image": torch.from_numpy(image.reshape(-1)),
            "tokens": torch.from_numpy(tokens),
            "lengths": torch.from_numpy(lengths),
        }


def encoded(split: CaptionSplit, words: CaptionVocabulary) -> np.ndarray:
    """The ids (M,) int32 of all words of a split; what `CaptionVocabulary.encode` gives, at once.

    Raises:
        UserError: for a word that is not in a vocabulary without `<unk>`.
    """
    used = np.flatnonzero(np.bincount(split.tokens, minlength=len(split.words)))
    ids = np.zeros(len(split.words), np.int32)
    try:
        ids[used] = words.encode([split.words[word] for word in used.tolist()])
    except UserError as error:
        raise UserError(f"data.captions: {error}") from None
    return ids[split.tokens]
