"""The caption metrics written down word by word, as slowly as they are defined: what the fast ones must equal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[int]


def ngrams(caption: Tokens, n: int = 4) -> Counter[tuple[int, ...]]:
    """How often each n-gram of 1 to n words stands in a caption."""
    return Counter(tuple(caption[i : i + k]) for k in range(1, n + 1) for i in range(len(caption) - k + 1))


def document_frequencies(corpus: Sequence[Sequence[Tokens]]) -> Counter[tuple[int, ...]]:
    """In how many images each n-gram occurs."""
    return Counter(ngram for captions in corpus for ngram in {g for caption in captions for g in ngrams(caption)})


def cider(
    caption: Tokens, references: Sequence[Tokens], df: Counter[tuple[int, ...]], images: int, *, d: bool = True
) -> float:
    """CIDEr-D, or the plain CIDEr."""

    def vector(caption: Tokens, order: int) -> dict[tuple[int, ...], float]:
        return {
            ngram: times * (math.log(images) - math.log(max(1.0, df[ngram])))
            for ngram, times in ngrams(caption).items()
            if len(ngram) == order
        }

    total = 0.0
    for reference in references:
        bigrams = [max(len(some) - 1, 0) for some in (caption, reference)]
        penalty = math.exp(-((bigrams[0] - bigrams[1]) ** 2) / 72) if d else 1.0
        for order in range(1, 5):
            ours, theirs = vector(caption, order), vector(reference, order)
            norms = [math.sqrt(sum(weight**2 for weight in some.values())) for some in (ours, theirs)]
            dot = sum((min(w, theirs.get(g, 0.0)) if d else w) * theirs.get(g, 0.0) for g, w in ours.items())
            if all(norms):
                total += penalty * dot / (norms[0] * norms[1]) / 4
    return 10 * total / len(references)


def bleu_counts(caption: Tokens, references: Sequence[Tokens]) -> tuple[list[int], list[int], int, int]:
    """Matched and guessed n-grams of each order, the length, the closest reference length."""
    most: Counter[tuple[int, ...]] = Counter()
    for reference in references:
        most |= ngrams(reference)
    shared = ngrams(caption) & most
    matched = [sum(times for ngram, times in shared.items() if len(ngram) == k) for k in range(1, 5)]
    closest = min((abs(len(reference) - len(caption)), len(reference)) for reference in references)[1]
    return matched, [max(len(caption) - k, 0) for k in range(4)], len(caption), closest


def bleu(matched: Sequence[int], guessed: Sequence[int], length: int, closest: int) -> list[float]:
    """BLEU-1 to 4."""
    ratio = (length + 1e-15) / (closest + 1e-9)
    penalty = 1.0 if ratio >= 1 else math.exp(1 - 1 / ratio)
    precisions = [(m + 1e-15) / (g + 1e-9) for m, g in zip(matched, guessed)]
    return [penalty * math.prod(precisions[:k]) ** (1 / k) for k in range(1, 5)]


def longest_common(one: Tokens, other: Tokens) -> int:
    """The length of the longest common subsequence."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def rouge_l(caption: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L with beta 1.2; best precision and best recall each over all references."""
    common = [longest_common(caption, reference) for reference in references]
    precision = max(c / max(len(caption), 1) for c in common)
    recall = max(c / max(len(r), 1) for c, r in zip(common, references))
    return (1 + 1.44) * precision * recall / (recall + 1.44 * precision) if precision and recall else 0.0
