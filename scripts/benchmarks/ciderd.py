"""The reward of SCST: CIDEr-D of 500 captions against 5 references each, beside the textbook version.

    python scripts/benchmarks/ciderd.py                   # about 10 seconds

The straightforward path is CIDEr-D as its authors wrote it down and as the published trainers call it: captions become
strings of ids, strings become dictionaries of word tuples, and the references are counted again for every caption that
is scored. Both see the same captions (lengths and word frequencies as in COCO, 100 images, 5 samples each) and the same
document frequencies; the scores must agree to 1e-9.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from sizes import CAPTION_LENGTHS

from limner.metrics.bleu import SentenceBleu
from limner.metrics.cider import CiderD
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.rouge import RougeL
from limner.metrics.sequences import ImageCaptions, flat, padded

IMAGES, SAMPLES, REFERENCES, WORDS, CORPUS = 100, 5, 5, 10_010, 20_000

Ngram = tuple[str, ...]


def ngrams(caption: str) -> Counter[Ngram]:
    """How often each n-gram of one to four words stands in a caption."""
    words = caption.split()
    return Counter(tuple(words[i : i + k]) for k in range(1, 5) for i in range(len(words) - k + 1))


def as_string(ids: Sequence[int]) -> str:
    return " ".join(str(number) for number in ids)


def textbook(
    hypotheses: list[list[int]], references: list[list[list[int]]], df: Counter[Ngram], images: int
) -> list[float]:
    """CIDEr-D, caption by caption: equations 1 to 4 of the paper with the changes of "D"."""
    log_images = np.log(float(images))

    def vector(caption: str) -> tuple[list[dict[Ngram, float]], list[float], int]:
        weights: list[dict[Ngram, float]] = [{} for _ in range(4)]
        norms, bigrams = [0.0] * 4, 0
        for ngram, times in ngrams(caption).items():
            order = len(ngram) - 1
            weights[order][ngram] = times * (log_images - np.log(max(1.0, df[ngram])))
            norms[order] += weights[order][ngram] ** 2
            bigrams += times if order == 1 else 0
        return weights, [math.sqrt(norm) for norm in norms], bigrams

    scores = []
    for hypothesis, captions in zip(hypotheses, references):
        ours, our_norms, our_length = vector(as_string(hypothesis))
        total = 0.0
        for caption in captions:
            theirs, their_norms, their_length = vector(as_string(caption))
            penalty = math.exp(-((our_length - their_length) ** 2) / (2 * 6.0**2))
            for order in range(4):
                dot = 0.0
                for ngram, weight in ours[order].items():
                    other = theirs[order].get(ngram, 0.0)
                    dot += min(weight, other) * other
                if our_norms[order] and their_norms[order]:
                    dot /= our_norms[order] * their_norms[order]
                total += dot * penalty / 4
        scores.append(10 * total / len(captions))
    return scores


def captions(count: int, rng: np.random.Generator) -> list[list[int]]:
    """Captions with repeating phrases: words follow each other as in a small grammar over a Zipf law."""
    lengths = rng.choice(np.arange(8, 21), count, p=np.array(CAPTION_LENGTHS) / sum(CAPTION_LENGTHS))
    share = 1 / np.arange(1, WORDS + 1)
    words = rng.choice(WORDS, (count, 20), p=share / share.sum())
    follows = rng.random((count, 20)) < 0.6  # then a word is a function of the one before
    for t in range(1, 20):
        words[:, t] = np.where(follows[:, t], (words[:, t - 1] * 31 + 7) % 401, words[:, t])
    return [row[:length].tolist() for row, length in zip(words, lengths)]


def best_of(run: Callable[[], Sequence[float]], times: int) -> tuple[Sequence[float], float]:
    """The result and the least seconds of a few runs."""
    least = math.inf
    for _ in range(times):
        start = time.perf_counter()
        result = run()
        least = min(least, time.perf_counter() - start)
    return result, least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="the least of so many runs (default 5)")
    repeat = parser.parse_args().repeat
    rng = np.random.default_rng(0)
    corpus = captions(CORPUS * REFERENCES, rng)
    nested = [corpus[i : i + REFERENCES] for i in range(0, len(corpus), REFERENCES)]
    # samples look like references: a reference of the image with one word in five replaced
    image = np.repeat(np.arange(IMAGES), SAMPLES)
    samples = [list(nested[i][k % REFERENCES]) for k, i in enumerate(image)]
    for sample in samples:
        for t in np.flatnonzero(rng.random(len(sample)) < 0.2):
            sample[t] = int(rng.integers(WORDS))

    df: Counter[Ngram] = Counter()
    for some in nested:
        df.update({ngram for caption in some for ngram in ngrams(as_string(caption))})
    plain, slow = best_of(lambda: textbook(samples, [nested[i] for i in image], df, len(nested)), repeat)

    references = ImageCaptions.of(nested, size=WORDS + 1)
    start = time.perf_counter()
    frequencies = DocumentFrequencies.build(references)
    built = time.perf_counter() - start
    sequences = flat(samples)
    tokens = padded(sequences, WORDS + 2)

    def first() -> np.ndarray:
        return CiderD(references, frequencies).score(tokens, sequences.lengths, image)

    scorer = CiderD(references, frequencies)
    scores, unprepared = best_of(first, repeat)
    again, fast = best_of(lambda: scorer.score(tokens, sequences.lengths, image), 4 * repeat)
    difference = max(np.abs(scores - plain).max(), np.abs(again - plain).max())
    if difference > 1e-9:
        raise SystemExit(f"the two ways differ by {difference:.1e}")
    print(
        f"CIDEr-D, {len(samples)} captions x {REFERENCES} references, {len(frequencies.keys):,} n-grams in the corpus"
    )
    print(f"  textbook            {1000 * slow:8.2f} ms   {len(samples) / slow:9,.0f} captions/s")
    print(f"  limner, first time  {1000 * unprepared:8.2f} ms   {slow / unprepared:6.1f} x")
    print(f"  limner              {1000 * fast:8.2f} ms   {slow / fast:6.1f} x   greatest difference {difference:.1e}")
    for name, other in (("BLEU-4", SentenceBleu(references)), ("ROUGE-L", RougeL(references))):
        _, seconds = best_of(lambda: other.score(tokens, sequences.lengths, image), 4 * repeat)  # noqa: B023
        print(f"  {name:18s}  {1000 * seconds:8.2f} ms")
    print(f"  document frequencies of {CORPUS * REFERENCES:,} captions: {built:.2f} s")


if __name__ == "__main__":
    main()
