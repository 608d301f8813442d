"""Batches of images and texts: the keys of a training batch of `limner.data.dialog_batches`, one sequence an image.

    id (B,)                 of the pair; image_id (B,) of its image
    dialog (B,)             0, 1, ...: each sequence has an image of its own to be masked
    image (B,)              the row of each pair's image in `feats` (from the data module)
    size, tokens, segments, text_mask, labels, words_at, word_targets, regions_at, blanked: as there

An evaluation batch has the same keys: nothing differs but that its draws are those of no epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from limner.data.dialog_masking import BERT, DIALOG, mask_regions, mask_words
from limner.data.draws import Draws
from limner.data.pair_texts import PairTexts
from limner.data.wordpiece import WordPiece

Batch = dict[str, Any]

KINDS = {"bert": BERT, "mask": DIALOG}
EVALUATION = Draws(seed=0, epoch=-1)
"""What is hidden and made wrong when a split is evaluated: the same for every run, so that their numbers compare."""


class PairBatches:
    """Makes the batches of a split.

    Args:
        texts: its pairs. words: word parts. settings: the keys of the config group `data`.
        sizes: (N, 2) width and height of the pairs' images; None: no regions.
        counts: regions of images by their ids; None: no regions.
    """

    def __init__(
        self,
        texts: PairTexts,
        words: WordPiece,
        settings: Mapping[str, Any],
        *,
        sizes: np.ndarray | None = None,
        counts: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.texts, self.words, self.settings, self.sizes, self.counts = texts, words, settings, sizes, counts

    def training(self, epoch: int, items: np.ndarray) -> Batch:
        """Pairs as an epoch has them."""
        return self.masked(items, Draws(self.settings["seed"], epoch))

    def evaluation(self, items: np.ndarray) -> Batch:
        """Pairs as every evaluation has them."""
        return self.masked(items, EVALUATION)

    def masked(self, items: np.ndarray, draws: Draws) -> Batch:
        """Pairs of which some are made wrong, some words and some regions are hidden."""
        texts, chosen = self.texts, self.settings
        read = texts.read(items, draws, share=chosen["wrong_pairs"])
        ids, images = texts.id[items], texts.image_id[items]
        kinds = KINDS[chosen["hidden_words"]]
        hidden = mask_words(read.tokens, self.words, draws, ids, share=chosen["mask_words"], kinds=kinds)
        at = hidden.labels >= 0
        made = {
            "id": ids,
            "image_id": images,
            "dialog": np.arange(len(items)),
            "tokens": hidden.tokens,
            "segments": read.segments,
            "text_mask": np.arange(read.tokens.shape[1]) < read.lengths[:, None],
            "labels": read.labels,
            "words_at": at,
            "word_targets": hidden.labels[at],
        }
        if self.sizes is not None:
            made["size"] = self.sizes[items]
        if self.counts is not None and chosen["mask_regions"] > 0:
            counts = self.counts(images)
            real = np.arange(1 + (chosen["max_regions"] or int(counts.max(initial=0)))) <= counts[:, None]
            # no region more than chosen here, as published: only dialogs want one of every image
            regions = mask_regions(real, draws, ids, share=chosen["mask_regions"], one_more=False)
            made |= {"regions_at": regions.predicted, "blanked": regions.blanked}
        return {name: torch.from_numpy(array) for name, array in made.items()}
