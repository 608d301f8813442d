"""CIDEr-D and CIDEr (Vedantam, Zitnick, Parikh 2015) of many captions at once, equal to the official code.

For n = 1..4 a caption is the vector of tf x idf over its n-grams. CIDEr is the cosine of caption and reference, mean
over n and references, times 10. CIDEr-D clips the caption's weights at the reference's and multiplies by
exp(-(l - l')^2 / (2 * 6^2)). As in the official code l counts BIGRAMS: captions of no and of one word have length 0.

The "CIDEr" that COCO's evaluation (pycocoevalcap) prints is CIDEr-D.
"""

from __future__ import annotations

import numpy as np

from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.ngrams import NgramCounts, count
from limner.metrics.references import Counted, References, shared
from limner.metrics.sequences import Hypotheses, ImageCaptions, flat, parts


class CiderD:
    """CIDEr-D against references that are prepared once: the metric of COCO's tables and the reward of SCST.

    references: captions by image (`ImageCaptions`, or `References` shared with other metrics). frequencies: of a
    corpus, over the same ids; default: of the references themselves. sigma: of the penalty on lengths.

    An image's references are counted when it is first scored, and kept: about 2.5 KB an image.
    """

    clip = True

    def __init__(
        self,
        references: ImageCaptions | References,
        frequencies: DocumentFrequencies | None = None,
        *,
        sigma: float = 6.0,
    ) -> None:
        captions = references.captions if isinstance(references, References) else references
        self.frequencies = DocumentFrequencies.build(captions) if frequencies is None else frequencies
        self.references = References.fitting(references, n=self.frequencies.n, base=self.frequencies.base)
        self.sigma = sigma
        self._norms: dict[int, np.ndarray] = {}

    def score(self, hypotheses: Hypotheses, lengths: np.ndarray | None, image: np.ndarray) -> np.ndarray:
        """The score of each caption, float64 (N,): 1.1 is what tables print as 110.

        hypotheses: token ids (N, T) padded on the right with `lengths (N,)`, or a list of sequences (lengths None);
        with the end token if the references have it. image (N,): the image of each, as the references name them.
        Raises `UserError` for images without references.
        """
        sequences = flat(hypotheses, lengths)
        rows = self.references.captions.rows(image, len(sequences.lengths))
        scores = np.zeros(len(rows))
        for here, part in parts(sequences):
            images, of_row = np.unique(rows[here], return_inverse=True)
            found = count(part, self.references.n, self.references.base)
            scores[here] = self._score(found, part.lengths, of_row, images)
        return scores

    def _score(self, found: NgramCounts, lengths: np.ndarray, of_row: np.ndarray, images: np.ndarray) -> np.ndarray:
        n, references = self.references.n, self.references.of(images)
        rows, most = len(lengths), references.times.shape[1]
        idf = self.frequencies.idf(found.keys)  # (U,)
        weight = found.times * idf[found.ngram]  # (P,)
        cell = found.row * n + found.order[found.ngram]  # (P,) of a table captions x n
        norm = np.bincount(cell, weight**2, rows * n) ** 0.5  # (N n,)
        reference_norm = self._norms_of(images, references)[of_row]  # (N, R, n)

        pairs, entries = shared(found, of_row, references)
        ours = weight[pairs][:, None]  # [m, 1]
        theirs = references.times[entries] * idf[found.ngram[pairs]][:, None]  # [m, R]
        product = (np.minimum(ours, theirs) if self.clip else ours) * theirs
        dot = _sums(cell[pairs], product, rows * n).reshape(rows, n, most)

        both = norm.reshape(rows, n, 1) * reference_norm.transpose(0, 2, 1)  # [N, n, R]
        similar = np.divide(dot, both, out=np.zeros(dot.shape), where=both > 0).mean(1)  # [N, R]
        if self.clip:
            bigrams = np.maximum(references.lengths - 1, 0)[of_row]
            delta = np.maximum(lengths - 1, 0)[:, None] - bigrams
            similar *= np.exp(-(delta**2) / (2 * self.sigma**2))
        return 10 * similar.sum(1) / references.captions[of_row]

    def _norms_of(self, images: np.ndarray, references: Counted) -> np.ndarray:
        """The norms of every reference of some images (k, R, n), kept; missing captions have 0."""
        k, most, n = len(images), references.times.shape[1], self.references.n
        new = np.array([row not in self._norms for row in images.tolist()])
        if new.any():
            here = new[references.image]
            keys, back = np.unique(references.keys[here], return_inverse=True)
            weight = references.times[here] * self.frequencies.idf(keys)[back][:, None]  # [E, R]
            cell = references.image[here] * n + references.order[here]
            norms = _sums(cell, weight**2, k * n).reshape(k, n, most).transpose(0, 2, 1) ** 0.5  # [k, R, n]
            for place in np.flatnonzero(new).tolist():
                self._norms[int(images[place])] = norms[place, : references.captions[place]].copy()
        out = np.zeros((k, most, n))
        for place, row in enumerate(images.tolist()):
            kept = self._norms[row]
            out[place, : len(kept)] = kept
        return out


class Cider(CiderD):
    """The plain CIDEr of the paper's equation 3: no clipping, no penalty on lengths. Arguments as `CiderD`."""

    clip = False


def _sums(cell: np.ndarray, values: np.ndarray, cells: int) -> np.ndarray:
    """The sum of the rows of values (m, R) in each cell (m,): (cells, R)."""
    width = values.shape[1]
    flat_cell = (cell[:, None] * width + np.arange(width)).ravel()
    return np.bincount(flat_cell, values.ravel(), cells * width).reshape(cells, width)
