"""What rewards compare with: the training captions as ids of the model's vocabulary, and their document frequencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.data.caption_items import encoded as as_ids
from limner.data.caption_split import CaptionSplit
from limner.data.caption_words import CaptionVocabulary
from limner.errors import UserError
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.sequences import ImageCaptions


def encoded(split: CaptionSplit, vocabulary: CaptionVocabulary, *, end: bool) -> ImageCaptions:
    """All captions of a split as ids, whole: neither the cut that training makes applies here, nor that of
    ImageCaptioning.pytorch (16 words, then without an end).

    Args:
        split: images without captions are left out.
        vocabulary: a word outside of it becomes `<unk>`.
        end: the end token stands behind every caption.
    """
    tokens, lengths = as_ids(split, vocabulary), np.diff(split.offsets)
    if end:
        tokens = np.insert(tokens, split.offsets[1:], np.int32(vocabulary.eos))
        lengths = lengths + 1
    counts = np.diff(split.first)
    kept = counts > 0
    size = vocabulary.eos + 1  # the words and the end token
    return ImageCaptions(tokens, lengths, counts[kept], split.image_id[kept], size=size)


def frequencies_of(
    captions: ImageCaptions,
    vocabulary: CaptionVocabulary,
    *,
    count_end: bool,
    file: str | Path | None = None,
    cache: str | Path | None = None,
) -> DocumentFrequencies:
    """The document frequencies of the training captions, kept in the folder `cache` under a hash of them and of the
    vocabulary; or those of a file.

    Raises:
        UserError: the file's are of another vocabulary, or treat the end of captions differently. Either would make
            every reward nearly 0 without an error.
    """
    if file is None:
        return DocumentFrequencies.prepared(captions, words=vocabulary.words, folder=cache)
    found = DocumentFrequencies.load(file, words=vocabulary.words)
    if (found.count(vocabulary.eos) > 0) != count_end:
        counts = "counts no ends of captions" if count_end else "counts the ends of captions"
        raise UserError(
            f"scst.frequencies={file}: {counts}, but scst.count_end={str(count_end).lower()}: "
            "change count_end, or set scst.frequencies=null"
        )
    return found
