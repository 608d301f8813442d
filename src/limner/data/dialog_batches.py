"""Batches of dialogs: what the model reads of them, what it shall predict. Regions are added by the data module.

Keys of every batch, I dialogs, N sequences of at most T tokens:

    id (I,)         image ids
    size (I, 2)     width and height of the images, where there are regions
    image (I,)      the row of each dialog's image in `feats` (from the data module)
    dialog (N,)     the dialog of each sequence, non-decreasing
    tokens, segments (N, T) int64, text_mask (N, T) bool: see `limner.data.dialog_encoding`

Training on dialogs adds
    labels (N,)             0 for the answer given, 1 for another
    words_at (N, T) bool    masked words, `word_targets (M,)` what stood there, in reading order
    regions_at, blanked (I, 1 + R) bool: regions to be predicted, and those the model shall see as zeros; the whole
                            image has place 0. Only where regions are predicted.
Training on judged rounds adds `labels` and
    relevance (I, A)        of the A options of each round, whose sequences stand together
An evaluation adds
    round (n,), owner (n,)  the number of each round that is ranked, as EvalAI counts, and its dialog
    options (n + 1,)        where the sequences of each round begin
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from limner.data.caption_split import spans
from limner.data.dialog_encoding import DialogEncoder, Rows
from limner.data.dialog_masking import mask_regions, mask_words
from limner.data.dialog_sampling import check_answers, compared_options, sequences
from limner.data.draws import Draws

Batch = dict[str, Any]
Make = Callable[[int, np.ndarray], Batch]


class DialogBatches:
    """Makes the batches of a split.

    Args:
        encoder: of the split.
        settings: the keys of the config group `data`.
        sizes: (D, 2) width and height of the dialogs' images; None: no regions.
        counts: regions of images by their ids; None: no regions.
    """

    def __init__(
        self,
        encoder: DialogEncoder,
        settings: Mapping[str, Any],
        *,
        sizes: np.ndarray | None = None,
        counts: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.encoder, self.split, self.settings = encoder, encoder.split, settings
        self.sizes, self.counts = sizes, counts

    def training(self, *, dense: bool) -> tuple[int, int, Make]:
        """How many items there are, how many make a batch of `batch_size` sequences, and what makes one.

        The maker takes an epoch and items: dialogs, or (`dense`) judged rounds as places in `split.dense`.

        Raises:
            UserError: the split cannot be trained on in this way.
        """
        chosen, split = self.settings, self.split
        if dense:
            compared_options(split, split.dense, Draws(chosen["seed"], 0), count=chosen["dense_options"])  # refuses now
            options = chosen["dense_options"] or int(split.option_counts[split.dense].max(initial=1))
            return len(split.dense), max(chosen["batch_size"] // options, 1), self.compared
        check_answers(split)
        all_of = int(np.diff(split.first).max(initial=1)) * (1 + chosen["negatives"])
        each = min(chosen["per_image"] or all_of, all_of)
        return len(split), max(chosen["batch_size"] // each, 1), self.sequences

    def sequences(self, epoch: int, dialogs: np.ndarray) -> Batch:
        """Rounds with the answer given or a wrong one, words and regions hidden."""
        chosen, split = self.settings, self.split
        draws = Draws(chosen["seed"], epoch)
        found = sequences(self.encoder, dialogs, draws, per_image=chosen["per_image"], negatives=chosen["negatives"])
        batch, images = self.read(found.rows, dialogs, found.dialog), split.image_id[dialogs]
        items = (images[found.dialog], split.round_id[found.round], found.candidate)
        words = self.encoder.words
        hidden = mask_words(batch["tokens"].numpy(), words, draws, *items, share=chosen["mask_words"])
        at = hidden.labels >= 0
        batch["tokens"] = torch.from_numpy(hidden.tokens)
        batch |= {"words_at": torch.from_numpy(at), "word_targets": torch.from_numpy(hidden.labels[at])}
        batch["labels"] = torch.from_numpy(found.label)
        if self.counts is not None and chosen["mask_regions"] > 0:
            counts = self.counts(images)
            real = np.arange(1 + (chosen["max_regions"] or int(counts.max(initial=0)))) <= counts[:, None]
            regions = mask_regions(real, draws, images, share=chosen["mask_regions"])
            batch["regions_at"] = torch.from_numpy(regions.predicted)
            batch["blanked"] = torch.from_numpy(regions.blanked)
        return batch

    def compared(self, epoch: int, judged: np.ndarray) -> Batch:
        """Options of judged rounds with their relevances; nothing is hidden."""
        split = self.split
        rounds = split.dense[judged]
        draws = Draws(self.settings["seed"], epoch)
        options = compared_options(split, rounds, draws, count=self.settings["dense_options"])
        answers = split.options[split.option_first[rounds][:, None] + options].reshape(-1)
        width = options.shape[1]
        rows = self.encoder.rows(np.repeat(rounds, width), answers)
        batch = self.read(rows, split.dialog[rounds], np.repeat(np.arange(len(rounds)), width))
        relevance = split.relevance[split.dense_first[judged][:, None] + options]
        wrong = options != split.gt_index[rounds][:, None]
        batch["relevance"] = torch.from_numpy(relevance)
        batch["labels"] = torch.from_numpy(wrong.reshape(-1).astype(np.int64))
        return batch

    def evaluation(self, dialogs: np.ndarray) -> Batch:
        """All options of the rounds that are ranked."""
        split = self.split
        numbers, first = spans(split.first, dialogs)
        owner = np.repeat(np.arange(len(dialogs)), np.diff(first))
        ranked = np.isin(numbers, split.ranked)
        numbers, owner = numbers[ranked], owner[ranked]
        rows, options = self.encoder.options(numbers)
        batch = self.read(rows, dialogs, np.repeat(owner, np.diff(options)))
        more = {"round": split.round_id[numbers], "owner": owner, "options": np.asarray(options)}
        return {**batch, **{name: torch.from_numpy(array) for name, array in more.items()}}

    def read(self, rows: Rows, dialogs: np.ndarray, dialog: np.ndarray) -> Batch:
        """What the model reads: rows of some dialogs, `dialog` saying whose each is."""
        tokens, segments = self.encoder.padded(rows)
        batch = {
            "id": torch.from_numpy(self.split.image_id[dialogs]),
            "dialog": torch.from_numpy(dialog),
            "tokens": torch.from_numpy(tokens),
            "segments": torch.from_numpy(segments),
            "text_mask": torch.from_numpy(np.arange(tokens.shape[1]) < rows.lengths[:, None]),
        }
        if self.sizes is not None:
            batch["size"] = torch.from_numpy(self.sizes[dialogs])
        return batch
