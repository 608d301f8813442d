"""Bootstrap intervals: the sums of drawn images, the same draws for both sides of a comparison."""

from __future__ import annotations

import numpy as np
import pytest

from limner.metrics.bootstrap import Statistic, compare, intervals, mean_of

RATIO = Statistic(
    ("ratio",), np.array([[1.0, 2.0], [0.0, 3.0], [4.0, 4.0]]), lambda sums: sums[..., :1] / sums[..., 1:]
)


def test_corpus_values():
    assert RATIO.corpus() == {"ratio": pytest.approx(100 * 5 / 9)}
    assert mean_of("m", np.array([0.5, np.nan, 1.0])).corpus() == {"m": 75.0}


def test_a_sample_is_the_score_of_its_images():
    """Against drawing images one by one and summing their counts."""
    rng = np.random.default_rng(3)
    drawn = rng.integers(3, size=(40, 3))
    sums = RATIO.each[drawn].sum(1)
    values = 100 * sums[:, 0] / sums[:, 1]
    expected = np.quantile(values, (0.05, 0.95))
    found = intervals([RATIO], samples=40, seed=3, level=0.9)["ratio"]
    assert found == pytest.approx(tuple(expected))


def test_interval_of_a_mean_is_that_of_statistics():
    values = np.random.default_rng(0).normal(0.5, 0.2, 400)
    low, high = intervals([mean_of("m", values)], samples=4000)["m"]
    error = 100 * values.std() / 20
    assert low == pytest.approx(100 * values.mean() - 1.96 * error, abs=0.2)
    assert high == pytest.approx(100 * values.mean() + 1.96 * error, abs=0.2)


def test_the_seed_decides():
    values = mean_of("m", np.random.default_rng(1).random(50))
    first = intervals([values], samples=250, seed=1)
    assert intervals([values], samples=250, seed=1) == first
    assert intervals([values], samples=250, seed=2) != first
    # other metrics beside it change nothing
    assert intervals([RATIO._replace(each=np.ones((50, 2))), values], samples=250, seed=1)["m"] == first["m"]


def test_comparison_is_paired():
    rng = np.random.default_rng(5)
    values = rng.random(300)
    better = values + 0.02 + rng.normal(0, 0.01, 300)
    found = compare([mean_of("m", values)], [mean_of("m", better), mean_of("other", values)])
    assert list(found) == ["m"]
    difference = found["m"]
    assert difference.difference == pytest.approx(100 * (better - values).mean())
    assert 1.5 < difference.low < difference.difference < difference.high < 2.5  # unpaired it would be 9 wide
    assert compare([RATIO], [RATIO])["ratio"] == (0.0, 0.0, 0.0)


def test_comparison_needs_the_same_images():
    with pytest.raises(ValueError, match="different numbers of images"):
        compare([RATIO], [mean_of("ratio", np.ones(4))])
