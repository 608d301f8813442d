"""Which words and which regions are hidden from the model, to be predicted.

Words: every word part but [CLS] and [SEP] is chosen with the same probability, in right and wrong candidates alike.
Dialogs (visdial-bert) put [MASK] for each; pretraining (BERT, ViLBERT) puts [MASK] for 80 %, any part for 10 %, and
leaves 10 % as they are.

Regions: each is chosen with probability 0.15, of those 90 % are blanked (features 0; box and target stay). The whole
image in front can be blanked but is never predicted. In dialogs one region more is predicted, unblanked, so that no
image is without one; visdial-bert may take padding for it, which counts and adds nothing, here it is a real region.

The rules are functions of uniform numbers; `Draws` gives them by (seed, epoch, item).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from limner.data.draws import Draws
from limner.data.wordpiece import WordPiece

DIALOG = (1.0, 0.0)  # of the chosen words: shares of [MASK] and of any part
BERT = (0.8, 0.1)


class MaskedWords(NamedTuple):
    tokens: np.ndarray  #: (B, T) int64, what the model reads
    labels: np.ndarray  #: (B, T) int64, what it shall predict; -1: nothing


class MaskedRegions(NamedTuple):
    predicted: np.ndarray  #: (I, R) bool, regions whose class is to be predicted
    blanked: np.ndarray  #: (I, R) bool, regions whose features the model sees as zeros


def mask_words(
    tokens: np.ndarray,
    words: WordPiece,
    draws: Draws,
    *items: np.ndarray,
    share: float = 0.15,
    kinds: tuple[float, float] = DIALOG,
) -> MaskedWords:
    """Hide words of rows (B, T).

    items: what names the rows, such as image, round and candidate: (B,) integers each. share: of words that are chosen
    (published: 0.15, visdial-bert's README trains with 0.1). kinds: `DIALOG`, or `BERT` for pretraining.
    """
    chosen = draws.uniform("mask words", *items, width=tokens.shape[1])
    other = None
    if sum(kinds) > kinds[0]:
        other = draws.below("other words", len(words), *items, width=tokens.shape[1])
    return word_rule(tokens, words, chosen, share=share, kinds=kinds, other=other)


def word_rule(
    tokens: np.ndarray,
    words: WordPiece,
    chosen: np.ndarray,
    *,
    share: float,
    kinds: tuple[float, float],
    other: np.ndarray | None = None,
) -> MaskedWords:
    """The rule for uniform numbers `chosen` (B, T) and the parts `other` (B, T) that may stand in.

    As in BERT, one number decides twice: below `share` the word is chosen, and its place below it says the kind.
    """
    word = (tokens != words.cls) & (tokens != words.sep) & (tokens != words.pad)
    hidden = word & (chosen < share)
    kind = chosen / share if share > 0 else chosen
    read = np.where(hidden & (kind < kinds[0]), words.mask, tokens)
    if other is not None:
        read = np.where(hidden & (kind >= kinds[0]) & (kind < sum(kinds)), other, read)
    return MaskedWords(read, np.where(hidden, tokens, -1))


def mask_regions(
    mask: np.ndarray,
    draws: Draws,
    *items: np.ndarray,
    share: float = 0.15,
    blank: float = 0.9,
    one_more: bool = True,
) -> MaskedRegions:
    """Choose regions of images.

    mask: (I, R) bool, real regions, the whole image at place 0. items: what names the images: (I,) integers each.
    share: of regions that are chosen. blank: share of those that the model sees as zeros. one_more: predict one real
    region more, unblanked (dialogs), where the image has any.
    """
    chosen = draws.uniform("mask regions", *items, width=mask.shape[1])
    extra = None
    if one_more:
        real = mask[:, 1:].sum(1)
        place = draws.below("one more region", np.maximum(real, 1), *items)
        nth = np.cumsum(mask[:, 1:], axis=1) == place + 1  # the place among the real ones, wherever they stand
        extra = np.where(real > 0, 1 + (nth & mask[:, 1:]).argmax(1), 0)
    return region_rule(mask, chosen, share=share, blank=blank, extra=extra)


def region_rule(
    mask: np.ndarray, chosen: np.ndarray, *, share: float, blank: float, extra: np.ndarray | None = None
) -> MaskedRegions:
    """The rule for uniform numbers `chosen` (I, R) and the region `extra` (I,) to be predicted besides."""
    predicted = mask & (chosen < share)
    blanked = predicted & (chosen < share * blank)
    if extra is not None:
        predicted[np.arange(len(mask)), extra] = True
    predicted[:, 0] = False
    return MaskedRegions(predicted, blanked)
