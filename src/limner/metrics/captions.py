"""Captions scored by the metrics of COCO's evaluation: a corpus and each image, for any data set, without Java.

    metrics = CaptionMetrics({"cat.jpg": ["A cat sleeps.", "A cat on a mat."], ...})
    metrics.score({"cat.jpg": "a cat on a mat", ...}).corpus      # {"bleu_1": 71.3, ..., "cider_d": 113.5}

All values are times 100, as tables print them: CIDEr-D 113.5 is what the official code calls 1.135.

`cider_d` is what COCO's evaluation server, pycocoevalcap and papers print as "CIDEr"; `cider` is the plain metric of
the CIDEr paper, which hardly anyone reports.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from limner.errors import UserError, listing
from limner.metrics import java_parts
from limner.metrics.bleu import BleuCounts, SentenceBleu, bleu
from limner.metrics.bootstrap import Statistic, mean_of
from limner.metrics.cider import Cider, CiderD
from limner.metrics.coco_tokens import tokenize
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.references import References
from limner.metrics.rouge import RougeL
from limner.metrics.sequences import ImageCaptions

Caption = str | Sequence[str]  # as written, or its words
METRICS = ("bleu", "rouge", "cider", "cider_d")
LABELS = {f"bleu_{n}": f"BLEU-{n}" for n in range(1, 5)} | {
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D (COCO's CIDEr)",
    "cider": "CIDEr (plain)",
    "spice": "SPICE",
}
"""Names for people, in the order of COCO's tables."""


class CaptionScores(NamedTuple):
    corpus: dict[str, float]  #: by metric, times 100, in the order of LABELS
    per_image: dict[Any, dict[str, float]]  #: image -> metric -> value, times 100
    notes: list[str]  #: one line for each metric that could not be computed or says nothing
    signature: str  #: how the numbers were made
    statistics: list[Statistic]  #: for `limner.metrics.bootstrap`, images in the order of per_image


class CaptionMetrics:
    """Metrics against references that are tokenised and counted once, for any number of evaluations.

    Args:
        references: image -> its reference captions, as written or as lists of words. Images are called by anything
            that can be a key.
        metrics: any of "bleu", "rouge", "cider", "cider_d".
        frequencies: document frequencies for CIDEr, from `text_frequencies`; default: of these references. Captions of
            one image have none of their own: their CIDEr is 0, and a note says so.
        java: METEOR and SPICE, too. What is missing for them costs a note and not the evaluation.
        tokenizer: from a caption as written to words with spaces between them. The default is COCO's.

    Raises:
        UserError: an unknown metric, no references, an image without a reference caption, frequencies without words.
    """

    def __init__(
        self,
        references: Mapping[Any, Iterable[Caption]],
        *,
        metrics: Sequence[str] = METRICS,
        frequencies: DocumentFrequencies | None = None,
        java: bool = False,
        tokenizer: Callable[[str], str] = tokenize,
    ) -> None:
        if unknown := [name for name in metrics if name not in METRICS]:
            raise UserError(f"metrics: unknown {listing(unknown)}, expected some of {', '.join(METRICS)}")
        if not references:
            raise UserError("references: no images, expected the captions of at least one")
        self.metrics, self.java, self.tokenizer = tuple(metrics), java, tokenizer
        self.places = {image: place for place, image in enumerate(references)}
        self.lines = _lines(references.values(), tokenizer)
        if bare := [image for image, lines in zip(self.places, self.lines) if not lines]:
            raise UserError(f"images without any reference caption: {listing(bare)}; drop these images")
        if frequencies is not None and not frequencies.words:
            raise UserError("frequencies: know token ids but no words; make them with text_frequencies")
        self.ids = {word: number for number, word in enumerate(frequencies.words)} if frequencies is not None else {}
        self._given = frequencies is not None
        captions = _numbered(self.lines, self.ids)
        self.frequencies = frequencies or DocumentFrequencies.build(captions)
        self.references = References(captions, base=self.frequencies.base)
        kinds = {"cider_d": CiderD, "cider": Cider}
        self.ciders = {
            name: kind(self.references, self.frequencies) for name, kind in kinds.items() if name in self.metrics
        }

    @property
    def signature(self) -> str:
        """How the numbers are made: what two evaluations must have in common to be compared."""
        own = "references" if not self._given else f"given-{self.frequencies.captions[:8]}"
        tokens = "coco-ptb" if self.tokenizer is tokenize else getattr(self.tokenizer, "__name__", "own")
        return f"captions-1|tokens:{tokens}|df:{own}-{self.frequencies.images}|images:{len(self.places)}"

    def score(self, captions: Mapping[Any, Caption]) -> CaptionScores:
        """The scores of one caption for each image; an empty caption scores 0.

        Raises `UserError` when an image of the references has no caption, or a caption no references.
        """
        self._check(captions)
        (lines,) = _lines([[captions[image] for image in self.places]], self.tokenizer)
        tokens = [_ids(line, self.ids) for line in lines]
        image = np.arange(len(tokens))
        each: dict[str, np.ndarray] = {}
        statistics = []
        notes = []
        if "bleu" in self.metrics:
            counts = SentenceBleu(self.references).counts(tokens, None, image)
            names = tuple(f"bleu_{n}" for n in range(1, 5))
            each |= dict(zip(names, bleu(counts).T))
            fields = [np.atleast_2d(field.T).T for field in counts]
            statistics.append(Statistic(names, np.concatenate(fields, 1).astype(np.float64), _bleu_of_sums))
        if "rouge" in self.metrics:
            each["rouge_l"] = RougeL(self.references).score(tokens, None, image)
        for name, metric in self.ciders.items():
            each[name] = metric.score(tokens, None, image)
            if self.frequencies.images == 1:
                notes.append(f"{name} is 0: document frequencies of one image say nothing; give frequencies=")
        if self.java:
            meteor, note = java_parts.meteor(lines, self.lines)
            if meteor is not None:
                each["meteor"] = java_parts.meteor_score(meteor)
                statistics.append(Statistic(("meteor",), meteor, _meteor_of_sums))
            spice, other = java_parts.spice(lines, self.lines)
            if spice is not None:
                each["spice"] = spice
            notes += [line for line in (note, other) if line]
        summed = {name for statistic in statistics for name in statistic.names}
        statistics += [mean_of(name, values) for name, values in each.items() if name not in summed]
        corpus = {name: value for statistic in statistics for name, value in statistic.corpus().items()}
        return CaptionScores(
            {name: corpus[name] for name in LABELS if name in corpus},
            {
                key: {name: 100 * float(each[name][place]) for name in LABELS if name in each}
                for key, place in self.places.items()
            },
            notes,
            self.signature,
            statistics,
        )

    def _check(self, captions: Mapping[Any, Caption]) -> None:
        missing = [image for image in self.places if image not in captions]
        unknown = [image for image in captions if image not in self.places]
        told = []
        if missing:
            told.append(f"{len(missing):,} of {len(self.places):,} images have no caption ({listing(missing)})")
        if unknown:
            told.append(f"{len(unknown):,} captions have no references ({listing(unknown)})")
        if told:
            raise UserError(f"captions and references differ: {' and '.join(told)}; give one caption an image")


def score(
    captions: Mapping[Any, Caption], references: Mapping[Any, Iterable[Caption]], **options: Any
) -> CaptionScores:
    """`CaptionMetrics(references, **options).score(captions)`, for one evaluation."""
    return CaptionMetrics(references, **options).score(captions)


def text_frequencies(
    references: Mapping[Hashable, Iterable[Caption]], *, tokenizer: Callable[[str], str] = tokenize
) -> DocumentFrequencies:
    """Document frequencies of a corpus of captions as text, for scoring other images or a single one."""
    ids: dict[str, int] = {}
    captions = _numbered(_lines(references.values(), tokenizer), ids)
    return DocumentFrequencies.build(captions, words=tuple(ids))


def lines_of(scores: CaptionScores, intervals: Mapping[str, tuple[float, float]] | None = None) -> list[str]:
    """A table of the corpus scores for people, with intervals when given, and the notes."""
    width = max((len(LABELS[name]) for name in scores.corpus), default=0)
    table = []
    for name, value in scores.corpus.items():
        low, high = (intervals or {}).get(name, (None, None))
        table.append(f"{LABELS[name]:{width}s} {value:7.2f}" + ("" if low is None else f"   {low:.2f} to {high:.2f}"))
    return table + scores.notes


def _lines(captions: Iterable[Iterable[Caption]], tokenizer: Callable[[str], str]) -> list[list[str]]:
    """Captions of images as tokens with spaces between them."""
    return [[tokenizer(one) if isinstance(one, str) else " ".join(one) for one in some] for some in captions]


def _numbered(lines: Sequence[Sequence[str]], ids: dict[str, int]) -> ImageCaptions:
    """Tokenised captions as numbers; new words are added to `ids`. There is room for as many unknown words again."""
    nested = [[_ids(line, ids) for line in some] for some in lines]
    return ImageCaptions.of(nested, size=2 * len(ids))


def _ids(line: str, ids: dict[str, int]) -> list[int]:
    # split() also cuts at the no-break space of "2 1/2", as the official BLEU and CIDEr do (its ROUGE-L does not)
    return [ids.setdefault(word, len(ids)) for word in line.split()]


def _bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    n = (sums.shape[-1] - 2) // 2
    return bleu(BleuCounts(sums[..., :n], sums[..., n : 2 * n], sums[..., -2], sums[..., -1]))


def _meteor_of_sums(sums: np.ndarray) -> np.ndarray:
    return java_parts.meteor_score(sums)[..., None]
