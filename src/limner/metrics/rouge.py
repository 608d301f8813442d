"""ROUGE-L (Lin 2004) as COCO's evaluation computes it, over token ids.

F with beta = 1.2 of precision and recall of the longest common subsequence. As in the official code the best precision
and the best recall may come from different references.
"""

from __future__ import annotations

import numpy as np

from limner.metrics.references import References
from limner.metrics.sequences import Hypotheses, ImageCaptions, flat, padded, parts

_BETA2 = 1.2**2


class RougeL:
    """ROUGE-L of single captions against the references of their images.

    references: captions by image, or `References` shared with other metrics (only their captions are used).
    """

    def __init__(self, references: ImageCaptions | References) -> None:
        self.captions = references.captions if isinstance(references, References) else references

    def score(self, hypotheses: Hypotheses, lengths: np.ndarray | None, image: np.ndarray) -> np.ndarray:
        """The score of each caption, float64 (N,), in 0..1. Arguments and errors as `CiderD.score`."""
        sequences = flat(hypotheses, lengths)
        rows = self.captions.rows(image, len(sequences.lengths))
        scores = np.zeros(len(rows))
        for here, part in parts(sequences):
            images, of_row = np.unique(rows[here], return_inverse=True)
            references, captions = self.captions.select(images)
            first = np.cumsum(captions) - captions
            each = captions[of_row]  # references of each caption
            start = np.cumsum(each) - each
            caption = np.repeat(np.arange(len(of_row)), each)  # [p] pairs of a caption and a reference
            reference = np.arange(len(caption)) + np.repeat(first[of_row] - start, each)
            common = _longest_common(padded(part, -1)[caption], padded(references, -2)[reference])
            precision = np.maximum.reduceat(common / np.maximum(part.lengths[caption], 1), start)
            recall = np.maximum.reduceat(common / np.maximum(references.lengths[reference], 1), start)
            below = np.where(precision > 0, recall + _BETA2 * precision, 1.0)
            scores[here] = (1 + _BETA2) * precision * recall / below
        return scores


def _longest_common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The length of the longest common subsequence of each pair of rows (P, T), (P, S), padded with different ids.

    Row i of the usual table is the running maximum of what row i-1 allows: all pairs and places of a row are one step.
    """
    best = np.zeros((len(one), other.shape[1] + 1), np.int16)
    for t in range(one.shape[1]):
        step = best[:, :-1] + (one[:, t, None] == other)
        best[:, 1:] = np.maximum.accumulate(np.maximum(best[:, 1:], step), axis=1)
    return best[:, -1]
