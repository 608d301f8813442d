"""What rows of captions score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limner.metrics.bootstrap import intervals
from limner.metrics.captions import METRICS, CaptionMetrics
from limner.metrics.rows import Row
from limner.word_lists import BAD_ENDINGS

QUICK = ("bleu", "cider_d")
"""what is measured after every epoch"""


class RowScores:
    """Scores rows against references, which are tokenised and counted once for all validations.

    Attributes:
        found: what the last scoring has to say beside its numbers: `intervals`, `notes`, `measured` (how).
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._said: Any = None
        self._key: Any = None
        self._metrics: CaptionMetrics | None = None

    def __call__(
        self, rows: Sequence[Row], references: Mapping[int, Sequence[str]] | None, *, detailed: bool, java: bool
    ) -> dict[str, float]:
        """CIDEr-D (`score`), BLEU-1 and -4 in percent, how long captions are and how they end; {} without references.

        Args:
            rows: one an image. Detailed scoring adds to each its own metrics.
            references: image id -> captions as written. Images that are not among them are not scored; a note says so.
            detailed: every metric, with 95 % intervals.
            java: METEOR and SPICE too, in a detailed scoring.
        """
        said = references or {}
        scored = [row for row in rows if row["id"] in said]
        self.found = {}
        if not scored:
            return {}
        metrics = self.metrics_of(said, tuple(row["id"] for row in scored), METRICS if detailed else QUICK, java)
        found = metrics.score({row["id"]: row["caption"] for row in scored})
        corpus = found.corpus if detailed else {name: found.corpus[name] for name in ("cider_d", "bleu_1", "bleu_4")}
        if detailed:
            for row in scored:
                row |= {name: round(value, 4) for name, value in found.per_image[row["id"]].items()}
            within = intervals(found.statistics)
            left = len(rows) - len(scored)
            told = [f"{left:,} of {len(rows):,} images have no references and are not scored"] if left else []
            self.found = {
                "intervals": {"score": within["cider_d"], **within},
                "notes": [*found.notes, *told],
                "measured": found.signature,
            }
        return {"score": corpus["cider_d"], **corpus, **endings(scored)}

    def metrics_of(
        self, said: Mapping[int, Sequence[str]], images: tuple[int, ...], chosen: Sequence[str], java: bool
    ) -> CaptionMetrics:
        """The metrics of some images."""
        key = (images, chosen, java)
        if self._said is not said or self._key != key or self._metrics is None:
            self._said, self._key = said, key
            self._metrics = CaptionMetrics({image: said[image] for image in images}, metrics=chosen, java=java)
        return self._metrics


def endings(rows: Sequence[Row]) -> dict[str, float]:
    """Mean words, percent of captions that ended by themselves, percent whose last word does not end a caption."""
    said = [row["caption"].split() for row in rows]
    return {
        "length": sum(map(len, said)) / len(rows),
        "ended": 100 * sum(row["ended"] for row in rows) / len(rows),
        "bad_endings": 100 * sum(bool(words) and words[-1] in BAD_ENDINGS for words in said) / len(rows),
    }
