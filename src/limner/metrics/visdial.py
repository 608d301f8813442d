"""VisDial's metrics over ranks of candidate answers: R@1, R@5, R@10, mean rank, MRR, NDCG. Numpy alone.

    metrics = DialogMetrics(split)                        # what load_split gave, with dense annotations for NDCG
    metrics.score([{"image_id": 42, "round_id": 1, "ranks": [3, 1, 2, ...]}, ...]).corpus

Source: the behaviour of the official challenge code. All values are times 100 as tables print them, but the mean rank.

Ties: of options with the same score the one that stands first in the file's list gets the better rank. The official
code sorts in a way that leaves ties to chance, and code that puts the answer given at place 0 lets it win every tie;
this rule knows nothing of the answer, and the same scores give the same ranks everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from limner.errors import UserError, listing, short
from limner.metrics.bootstrap import Statistic
from limner.metrics.visdial_types import TYPES, question_type

if TYPE_CHECKING:
    from limner.data.visdial_split import VisDialSplit

METRICS = ("ndcg", "mrr", "r@1", "r@5", "r@10", "mean")
LABELS = {"ndcg": "NDCG", "mrr": "MRR", "r@1": "R@1", "r@5": "R@5", "r@10": "R@10", "mean": "Mean rank"}
"""Names for people, in the order of the papers' tables."""
_RETRIEVAL = ("mrr", "r@1", "r@5", "r@10", "mean")


def ranks(scores: np.ndarray) -> np.ndarray:
    """The rank of each option, 1 for the highest score: `(..., W)` int64. Ties: see the module.

    Raises:
        UserError: a score is no number (nan).
    """
    scores = np.asarray(scores)
    if np.isnan(scores).any():
        raise UserError(f"{int(np.isnan(scores).sum()):,} of {scores.size:,} scores are nan: nothing can be ranked")
    order = np.argsort(-scores, axis=-1, kind="stable")
    found = np.empty(order.shape, np.int64)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(1, scores.shape[-1] + 1), order.shape), -1)
    return found


def retrieval(rank: np.ndarray) -> dict[str, float]:
    """MRR, R@1, R@5, R@10 (times 100) and mean rank of the ranks (N,) of the answers given; nan without any."""
    rank = np.asarray(rank, np.float64)
    sums = np.append(_retrieval_counts(rank).sum(0), len(rank))
    return dict(zip(_RETRIEVAL, (100 * _retrieval_of_sums(sums)).tolist()))


def ndcg(rank: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """NDCG in 0..1 of judged rounds, `(...)` from ranks and relevances `(..., W)`; nan where nothing is relevant.

    With k options of relevance above 0, the k that are ranked first are judged: the sum of relevance / log2(1 + rank),
    divided by the largest such sum there could be.
    """
    rank, relevance = np.asarray(rank), np.asarray(relevance, np.float64)
    count = (relevance > 0).sum(-1, keepdims=True)
    gain = np.where(rank <= count, relevance / np.log2(1.0 + rank), 0.0).sum(-1)
    best = -np.sort(-relevance, -1) / np.log2(2.0 + np.arange(relevance.shape[-1]))
    with np.errstate(invalid="ignore"):
        return gain / best.sum(-1)


class DialogScores(NamedTuple):
    corpus: dict[str, float]  #: by metric, in the order of METRICS; without NDCG when no round is judged
    per_round: dict[int, dict[str, float]]  #: number of the round -> retrieval metrics, and "rounds", how many
    per_type: dict[str, dict[str, float]]  #: type of question -> the same, by how often it comes up
    per_image: dict[int, dict[str, float]]  #: image -> retrieval metrics over its rounds, "ndcg" where it is judged
    notes: list[str]  #: one line for what does not count
    statistics: list[Statistic]  #: for `limner.metrics.bootstrap`, by dialog: rounds of a dialog are not independent


class DialogMetrics:
    """Metrics against the answers and the dense annotations of a split, for any number of evaluations.

    Raises:
        UserError: the split tells no answers (a test split): its ranks are judged by the evaluation server.
    """

    def __init__(self, split: VisDialSplit) -> None:
        if not split.annotated:
            raise UserError("VisDial metrics: the split tells no answers; write its ranks for the evaluation server")
        self.split = split
        self.rounds = split.ranked
        self.number = split.round_id[self.rounds]
        images = split.image_id[split.dialog[self.rounds]]
        self.places = {key: place for place, key in enumerate(zip(images.tolist(), self.number.tolist()))}
        types = [question_type(split.questions[question]) for question in split.question[self.rounds].tolist()]
        self.types = np.array([TYPES.index(name) for name in types], np.int64)

    def score(self, rows: Iterable[Mapping[str, Any]]) -> DialogScores:
        """The scores of exactly one row a round.

        rows: dicts with `image_id`, `round_id` (from 1) and `ranks`, those of the options in the order of the file; or
        `scores` instead of `ranks`.

        Raises `UserError` that lists missing, unknown and double rounds, and for ranks that are no permutation.
        """
        return self.score_ranks(self._ranks(rows))

    def score_ranks(self, ranked: Sequence[np.ndarray]) -> DialogScores:
        """The scores of the ranks of each round of `self.rounds`: arrays (options of the round,), or one (n, W)."""
        split, rounds = self.split, self.rounds
        rank = np.array([given[truth] for given, truth in zip(ranked, split.gt_index[rounds].tolist())], np.int64)
        dialog = split.dialog[rounds]
        images = np.unique(dialog)
        each = np.column_stack((_retrieval_counts(rank), np.ones(len(rank))))  # [n, 6]
        by_image = _sums_by(np.searchsorted(images, dialog), each, len(images))
        values = _retrieval_of_sums(by_image) * 100
        per_image = {
            image: dict(zip(_RETRIEVAL, row)) for image, row in zip(split.image_id[images].tolist(), values.tolist())
        }
        statistics = [Statistic(_RETRIEVAL, by_image, _retrieval_of_sums)]
        notes = []
        if len(split.dense):
            judged = self.ndcg_each(ranked)
            known = ~np.isnan(judged)
            owner = np.searchsorted(images, split.dialog[split.dense])
            sums = _sums_by(owner, np.stack((np.where(known, judged, 0.0), known), 1), len(images))
            statistics.append(Statistic(("ndcg",), sums, _mean_of_sums))
            for at in np.flatnonzero(sums[:, 1]).tolist():
                per_image[int(split.image_id[images[at]])]["ndcg"] = 100 * float(sums[at, 0] / sums[at, 1])
            if not known.all():
                bare = f"{(~known).sum():,} of {len(known):,}"
                notes.append(f"{bare} judged rounds have no relevant option and are not in NDCG")
        corpus = {name: value for statistic in statistics for name, value in statistic.corpus().items()}
        return DialogScores(
            {name: corpus[name] for name in METRICS if name in corpus},
            {number: _told(each[self.number == number]) for number in np.unique(self.number).tolist()},
            {TYPES[kind]: _told(each[self.types == kind]) for kind in _by_count(self.types)},
            per_image,
            notes,
            statistics,
        )

    def ndcg_each(self, ranked: Sequence[np.ndarray]) -> np.ndarray:
        """NDCG in 0..1 of each judged round (K,); nan where nothing is relevant. `ranked` as in `score_ranks`."""
        split, first = self.split, self.split.dense_first
        places = np.searchsorted(self.rounds, split.dense).tolist()
        return np.array([ndcg(ranked[p], split.relevance[a:b]) for p, a, b in zip(places, first, first[1:])])

    def _ranks(self, rows: Iterable[Mapping[str, Any]]) -> list[np.ndarray]:
        """The ranks of each round of `self.rounds`; every way in which rows and rounds do not fit is an error."""
        found: dict[int, np.ndarray] = {}
        unknown, twice = [], []
        for row in rows:
            try:
                key = (row["image_id"], row["round_id"])
                given = np.asarray(row["ranks"]) if "ranks" in row else ranks(np.asarray(row["scores"], np.float64))
            except (KeyError, TypeError, ValueError):
                raise UserError(f"VisDial metrics: found {short(row)}, expected image_id, round_id, ranks") from None
            place = self.places.get(key)
            if place is None:
                unknown.append(key)
                continue
            if place in found:
                twice.append(key)
            options = int(self.split.option_counts[self.rounds[place]])
            if given.shape != (options,) or not np.array_equal(np.sort(given), np.arange(1, options + 1)):
                told = f"image {key[0]}, round {key[1]}: its ranks are {short(given.tolist())}"
                raise UserError(f"VisDial metrics: {told}, expected a permutation of 1 to {options}")
            found[place] = given
        missing = [key for key, place in self.places.items() if place not in found]
        problems = [
            f"{len(keys):,} {what} ({listing(f'image {image} round {number}' for image, number in keys)})"
            for what, keys in (("missing", missing), ("unknown", unknown), ("double", twice))
            if keys
        ]
        if problems:
            raise UserError(
                f"VisDial metrics: ranks of {len(found) + len(unknown):,} rounds for {len(self.places):,}: "
                f"{', '.join(problems)}; expected exactly one row a round"
            )
        return [found[place] for place in range(len(self.places))]


def lines_of(scores: DialogScores, intervals: Mapping[str, tuple[float, float]] | None = None) -> list[str]:
    """Tables for people: the metrics with intervals when given, by round, by type of question, and the notes."""
    table = []
    for name, value in scores.corpus.items():
        low, high = (intervals or {}).get(name, (None, None))
        table.append(f"{LABELS[name]:9s} {value:7.2f}" + ("" if low is None else f"   {low:.2f} to {high:.2f}"))
    groups: list[tuple[str, dict[Any, dict[str, float]]]] = [
        ("round", scores.per_round),
        ("question", scores.per_type),
    ]
    for title, group in groups:
        width = max(len(title), *(len(str(name)) for name in group))
        heads = "".join(f"{LABELS[name]:>10s}" for name in _RETRIEVAL)
        table += ["", f"{title:{width}s}{heads}    rounds"]
        for name, values in group.items():
            cells = "".join(f"{values[metric]:10.2f}" for metric in _RETRIEVAL)
            table.append(f"{name!s:{width}s}{cells}{values['rounds']:10,.0f}")
    return table + scores.notes


def _retrieval_counts(rank: np.ndarray) -> np.ndarray:
    """(N, 5) what is summed for the metrics of _RETRIEVAL."""
    return np.stack((1 / rank, rank <= 1, rank <= 5, rank <= 10, rank), 1).astype(np.float64)


def _retrieval_of_sums(sums: np.ndarray) -> np.ndarray:
    """Means (..., 5) from sums (..., 6), a hundredth of what tables print: so the mean rank is divided by 100."""
    with np.errstate(invalid="ignore"):
        return sums[..., :5] / sums[..., 5:] / np.array([1, 1, 1, 1, 100])


def _mean_of_sums(sums: np.ndarray) -> np.ndarray:
    return sums[..., :1] / np.maximum(sums[..., 1:], 1)


def _sums_by(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    return np.stack([np.bincount(group, column, groups) for column in values.T], 1)


def _told(each: np.ndarray) -> dict[str, float]:
    return {**dict(zip(_RETRIEVAL, (100 * _retrieval_of_sums(each.sum(0))).tolist())), "rounds": len(each)}


def _by_count(kinds: np.ndarray) -> list[int]:
    """The kinds that come up, the most frequent first."""
    counts = np.bincount(kinds)
    return [kind for kind in np.argsort(-counts, kind="stable").tolist() if counts[kind]]
