"""Which sequences an epoch trains on: rounds, wrong candidates, options to compare, captions of other images.

Every choice is a function of (seed, epoch, item), see `limner.data.draws`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from limner.data.dialog_encoding import DialogEncoder, Rows
from limner.data.draws import Draws
from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError, listing


class Sequences(NamedTuple):
    """B sequences to train on, those of a dialog together, by round and candidate."""

    dialog: np.ndarray  #: (B,) row of each sequence's dialog among the dialogs asked for, non-decreasing
    round: np.ndarray  #: (B,) its round in the split
    candidate: np.ndarray  #: (B,) 0: the answer given, 1, 2, ...: wrong ones
    rows: Rows  #: what the model reads

    @property
    def label(self) -> np.ndarray:
        """(B,) int64 class of the alignment: 0 right, 1 wrong (as published)."""
        return (self.candidate > 0).astype(np.int64)


def sequences(
    encoder: DialogEncoder, dialogs: np.ndarray, draws: Draws, *, per_image: int | None = None, negatives: int = 1
) -> Sequences:
    """Sequences of some dialogs: each round with the answer given and with wrong ones, and of these a few.

    visdial-bert makes all 20 sequences of each image of a batch, keeps a random few of the batch and throws the rest
    away. Here each image gives `per_image` of its sequences, drawn before anything is encoded; on average these are
    the same.

    Args:
        encoder: of the split. dialogs: (D,) places in it. per_image: sequences of each dialog; None: all.
        negatives: wrong candidates a round (published: 1), each drawn from all wrong options that fit.

    Raises:
        UserError: a dialog without a round whose answer is known.
    """
    split = encoder.split
    counts = np.diff(split.first)[dialogs]
    kinds = 1 + negatives
    number = np.arange(int(counts.max(initial=1)) * kinds)  # of a sequence in its dialog
    rounds = np.minimum(split.first[dialogs][:, None] + number // kinds, split.rounds - 1)  # [d, n]
    there = (number // kinds < counts[:, None]) & (split.gt_index[rounds] >= 0)
    if not there.any(1).all():
        without = split.image_id[dialogs[~there.any(1)]].tolist()
        raise UserError(f"dialogs without a known answer cannot be trained on: images {listing(without)}")
    if per_image is not None:
        keys = np.where(there, draws.uniform("sequences", split.image_id[dialogs], width=len(number)), 2.0)
        place = np.argsort(np.argsort(keys, 1, kind="stable"), 1, kind="stable")
        there &= place < per_image
    dialog, number = np.nonzero(there)
    rounds, candidate = rounds[dialog, number], number % kinds
    option = split.gt_index[rounds].astype(np.int64)
    wrong = np.flatnonzero(candidate)
    option[wrong] = wrong_options(encoder, rounds[wrong], candidate[wrong], draws)
    answers = split.options[split.option_first[rounds] + option]
    return Sequences(dialog, rounds, candidate, encoder.rows(rounds, answers, encoder.answer_contexts))


def wrong_options(encoder: DialogEncoder, rounds: np.ndarray, candidate: np.ndarray, draws: Draws) -> np.ndarray:
    """A wrong option (B,) for each of some rounds, as a place among its options.

    Drawn alike from all but the answer given. One that is too long for the history is drawn again among those that
    fit; where none does, it stays and its row is cut.

    Raises:
        UserError: a round with fewer than two options.
    """
    split = encoder.split
    counts, truth = split.option_counts[rounds], split.gt_index[rounds].astype(np.int64)
    if len(counts) and counts.min() < 2:
        image = split.image_id[split.dialog[rounds[counts.argmin()]]]
        raise UserError(f"image {image}: a round has {counts.min()} options, expected two or more to draw a wrong one")
    items = (split.image_id[split.dialog[rounds]], split.round_id[rounds], candidate)
    drawn = draws.below("wrong options", np.maximum(counts - 1, 1), *items, width=2)
    option = drawn[:, 0] + (drawn[:, 0] >= truth)
    room = encoder.answer_contexts.room[rounds]
    long = encoder.answer_counts[split.options[split.option_first[rounds] + option]] > room
    for row in np.flatnonzero(
        long
    ).tolist():  # hardly ever: VisDial's dialogs are three times shorter than there is room
        fits = np.flatnonzero(encoder.answer_counts[split.options_of(rounds[row])] <= room[row])
        fits = fits[fits != truth[row]]
        if len(fits):
            option[row] = fits[drawn[row, 1] % len(fits)]
    return option


def check_answers(split: VisDialSplit) -> None:
    """Refuses, before anything is trained, what `sequences` would refuse in the middle of an epoch.

    Raises:
        UserError: dialogs without a round whose answer is known, or rounds with one option only.
    """
    known = split.gt_index >= 0
    without = split.image_id[~np.logical_or.reduceat(known, split.first[:-1])] if len(split) else split.image_id
    if len(without):
        raise UserError(
            f"data.fit: no round of the dialogs of images {listing(without[:5].tolist(), len(without))} has a known "
            "answer (gt_index): leave them out, or train on a split with answers"
        )
    lone = np.unique(split.image_id[split.dialog[known & (split.option_counts < 2)]])
    if len(lone):
        raise UserError(
            f"data.fit: rounds of images {listing(lone[:5].tolist(), len(lone))} have one option, expected two or more "
            "to draw a wrong one"
        )


def compared_options(split: VisDialSplit, rounds: np.ndarray, draws: Draws, *, count: int | None) -> np.ndarray:
    """Options (B, count) of some rounds to compare, as places: the answer given, then others drawn without replacement.

    count: published for the dense finetuning: 80. None: all options, in the order of the file.

    Raises:
        UserError: rounds of different numbers of options (`count` None), of fewer than `count`, or without an answer.
    """
    counts, truth = split.option_counts[rounds], split.gt_index[rounds]
    if count is None:
        if len(np.unique(counts)) > 1:
            raise UserError(
                f"data.dense_options=null, but judged rounds have {counts.min()} to {counts.max()} options: give one"
            )
        return np.tile(np.arange(counts[0]), (len(rounds), 1))
    for wrong, found in ((counts < count, "fewer options"), (truth < 0, "no known answer")):
        if wrong.any():
            images = split.image_id[split.dialog[rounds[wrong]]]
            raise UserError(
                f"data.dense_options={count}, but judged rounds of images {listing(images[:5].tolist(), len(images))} "
                f"have {found}: give another number, or null for all options"
            )
    items = (split.image_id[split.dialog[rounds]], split.round_id[rounds])
    keys = draws.uniform("compared options", *items, width=int(counts.max()))
    keys[np.arange(keys.shape[1]) >= counts[:, None]] = 2.0
    keys[np.arange(len(rounds)), truth] = -1.0  # first
    return np.argsort(keys, 1, kind="stable")[:, :count]


def other_captions(
    first: np.ndarray, owner: np.ndarray, items: np.ndarray, draws: Draws, *, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """For each of some captions: itself, or with probability `share` (published: 0.5) one of another image.

    Args:
        first: (I+1,) where the captions of each image begin. owner: (C,) the image of each caption.
        items: (B,) captions.

    Returns:
        `captions (B,), labels (B,)` int64: which caption is read; 0: it is the image's own, 1: it is not.

    Raises:
        UserError: there is only one image.
    """
    own = owner[items]
    others = first[-1] - (first[own + 1] - first[own])
    if len(items) and others.min() < 1:
        raise UserError("captions of one image alone: there is none of another image to tell them from")
    wrong = draws.uniform("other captions", items, width=1)[:, 0] < share
    drawn = draws.below("which caption", np.maximum(others, 1), items)[:, 0]
    drawn = np.where(drawn >= first[own], drawn + first[own + 1] - first[own], drawn)
    return np.where(wrong, drawn, items), wrong.astype(np.int64)
