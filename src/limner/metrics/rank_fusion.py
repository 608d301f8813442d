"""Rankings of the same options made into one: what a server judges by MRR and NDCG at once is won by two models.

A model finetuned on dense relevances ranks well by NDCG and loses MRR, since the answer given is no longer first. So
take the first option from the model that is good at MRR and the order of all others from the one that is good at NDCG;
or the order of mean ranks, the ensemble of models of which only ranks are known.

Source: what entries to the VisDial challenge say of their ensembles (mrr-ndcg, VisDial principles); their code was not
read. Numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limner.metrics.visdial import ranks


def mean_ranks(given: Sequence[np.ndarray]) -> np.ndarray:
    """The ranks `(..., W)` of the order of mean ranks; of options with equal means the one that the first ranking
    prefers comes first.

    Args:
        given: rankings `(..., W)`, each option's rank from 1.
    """
    behind = given[0].shape[-1] + 1  # more than any rank
    return ranks(-(behind * np.sum(given, axis=0) + given[0]))


def keep_first(first: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The ranks `(..., W)` of an order whose best option is that of `first`, the others following as in `rest`."""
    return ranks(-np.where(first == 1, 0, rest))
