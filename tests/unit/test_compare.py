"""`limner compare`: the paired bootstrap against known cases, and that only equal items are compared."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import UserError
from limner.metrics import rows as rows_of
from limner.reports import bootstrap, compare
from limner.reports.bootstrap import Difference, paired_bootstrap


def test_equal_answers_differ_by_exactly_nothing():
    a = np.array([0.0, 30, 100, 60])
    assert paired_bootstrap(a, a, resamples=200, seed=0) == (0, 0, 0)


def test_a_constant_difference_has_no_width():
    a = np.array([10.0, 20, 30])
    assert paired_bootstrap(a, a + 5, resamples=200, seed=0) == (5, 5, 5)


def test_the_interval_of_many_items_is_the_normal_one():
    rng = np.random.default_rng(1)
    a, b = rng.choice([0.0, 30, 60, 90, 100], size=(2, 4000))
    found = paired_bootstrap(a, b, resamples=20_000, seed=2)
    error = (b - a).std() / np.sqrt(4000)
    assert found.mean == pytest.approx((b - a).mean())
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.06 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.06 * error)


@pytest.mark.parametrize("few", [0, 100])
def test_it_is_the_bootstrap_over_items(monkeypatch, few):
    """Drawing how often each value comes has the distribution of drawing items."""
    monkeypatch.setattr(bootstrap, "FEW", few)  # 0: always values; 100: always items
    rng = np.random.default_rng(3)
    a, b = rng.choice([0.0, 30, 100], p=[0.2, 0.1, 0.7], size=(2, 25))
    found = paired_bootstrap(a, b, resamples=40_000, seed=4)
    drawn = (b - a)[rng.integers(0, 25, (40_000, 25))].mean(1)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1.2)


def test_pairing_matters():
    """The same means, far apart in pairs or not: items that are hard for both do not widen the interval."""
    a = np.tile([0.0, 100], 200)
    paired = paired_bootstrap(a, np.clip(a + 10, 0, 100), resamples=2000, seed=0)
    crossed = paired_bootstrap(a, np.clip(a + 10, 0, 100)[::-1], resamples=2000, seed=0)
    assert paired.mean == crossed.mean == 5
    assert paired.high - paired.low < 2 < 10 < crossed.high - crossed.low


def test_groups_are_drawn_as_a_whole():
    """Items of a group that are all alike say as much as one of them."""
    rng = np.random.default_rng(8)
    gaps, groups = np.repeat(rng.normal(size=200), 5), np.repeat(rng.permutation(200), 5)
    alone = paired_bootstrap(0 * gaps, gaps, resamples=20_000)
    found = paired_bootstrap(0 * gaps, gaps, groups=groups, resamples=20_000)
    assert found.mean == alone.mean
    assert found.high - found.low == pytest.approx(5**0.5 * (alone.high - alone.low), rel=0.05)
    shuffled = rng.permutation(1000)  # the mean is over items, not over groups
    uneven = paired_bootstrap(np.zeros(3), np.array([3.0, 3, 9]), groups=np.array([1, 1, 2]), resamples=2000)
    assert (uneven.mean, uneven.low, uneven.high) == (5, 3, 9)
    again = paired_bootstrap(0 * gaps, gaps[shuffled], groups=groups[shuffled], resamples=20_000)
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("few", [0, 100])
def test_the_seed_decides_and_chunks_do_not(monkeypatch, few):
    monkeypatch.setattr(bootstrap, "FEW", few)
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 300))
    whole = paired_bootstrap(a, b, resamples=500, seed=6)
    assert whole != paired_bootstrap(a, b, resamples=500, seed=7)
    monkeypatch.setattr(bootstrap, "CELLS", 300 * 64)
    assert paired_bootstrap(a, b, resamples=500, seed=6) == pytest.approx(whole)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_what_cannot_be_paired(a, b):
    with pytest.raises(ValueError, match="two vectors of one length"):
        paired_bootstrap(np.array(a), np.array(b))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "no clear difference"), (0, 0, "no clear difference")],
)
def test_verdicts(low, high, verdict):
    assert Difference(0, low, high).verdict == verdict


def save(folder, accuracies, **changes):
    """An evaluation whose item k has the k-th accuracy; the first three ask for a number."""
    rows = []
    for k, accuracy in enumerate(accuracies):
        kind = "number" if k < 3 else "other"
        row = {"id": k, "question": f"q{k}", "answer": f"a{k}", "answers": ["x"], "accuracy": accuracy}
        rows.append({**row, "answer_type": kind, **changes})
    rows_of.write(folder / "rows.jsonl.gz", rows)
    return str(folder)


def test_the_table(tmp_path, capsys):
    a = save(tmp_path / "a", [0.0, 30, 100, 60, 100])
    b = save(tmp_path / "b", [100.0, 60, 100, 60, 0])
    assert compare.main([a, b, "--examples", "0"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["A", a] in lines
    assert ["all", "5", "A", "58.00"] in lines
    assert ["number", "3", "A", "43.33"] in lines
    assert ["other", "2", "A", "80.00"] in lines
    assert [line[:3] for line in lines if line[:1] == ["B"]] == [
        ["B", b],
        ["B", "64.00", "+6.00"],
        ["B", "86.67", "+43.33"],
        ["B", "30.00", "-50.00"],
    ]
    assert ["A,", "B", "2", "1", "2", "0"] in lines  # both, only A, only B, neither


def test_the_items_that_differ_most(tmp_path, capsys):
    a = save(tmp_path / "a", [0.0, 30, 100, 60, 100])
    b = save(tmp_path / "b", [100.0, 60, 100, 60, 0], answer="b's answer")
    assert compare.main([a, b, "--examples", "1"]) == 0
    text = capsys.readouterr().out
    assert text.endswith(
        "where B is most ahead of A\n\nquestion 0, image None: q0  +100.0\n  A    0.0  a0\n  B  100.0  b's answer\n"
        "  people    x\N{NARROW NO-BREAK SPACE}×1\n\nwhere A is most ahead of B\n\n"
        "question 4, image None: q4  -100.0\n  A  100.0  a4\n  B    0.0  b's answer\n"
        "  people    x\N{NARROW NO-BREAK SPACE}×1\n"
    )
    assert compare.main([a, b, "--examples", "9"]) == 0
    assert "question 2" not in capsys.readouterr().out  # equal ones are never shown
    assert compare.main([a, a]) == 0
    assert "ahead" not in capsys.readouterr().out


def test_rows_in_another_order_are_paired_by_id(tmp_path):
    a = save(tmp_path / "a", [0.0, 30, 100])
    rows = list(rows_of.read(tmp_path / "a" / "rows.jsonl.gz"))
    rows_of.write(tmp_path / "turned.jsonl", rows[::-1])
    first, second = compare.read([a, str(tmp_path / "turned.jsonl")], None)
    assert first.scores.tolist() == second.scores.tolist() == [0, 30, 100]


def test_markdown(tmp_path, capsys):
    paths = [save(tmp_path / name, values) for name, values in (("a", [0.0]), ("b", [100.0]), ("c|d", [50.0]))]
    assert compare.main([*paths, "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| all | 1 | A | 0.00 |  |  |  |\n|  |  | B | 100.00 | +100.00 | +100.00 to +100.00 | better |" in out
    assert "c\\|d" in out
    assert "| A, C | 0 | 0 | 1 | 0 |" in out


def test_other_items_are_refused_with_the_first_few(tmp_path):
    a, b = save(tmp_path / "a", [1.0] * 20), save(tmp_path / "b", [1.0] * 2)
    with pytest.raises(UserError, match=r"20 questions .* 2 of .*18 only in A \(10, 11, 12, 13, 14 and 13 more\)"):
        compare.read([a, b], None)


def test_equal_ids_with_other_questions_or_answers_are_refused(tmp_path):
    a = save(tmp_path / "a", [1.0, 2.0])
    for changes in ({"question": "else"}, {"answers": ["y"]}):
        b = save(tmp_path / "b", [1.0, 2.0], **changes)
        with pytest.raises(UserError, match=r"2 questions have other questions or other people's answers \(ids 0, 1\)"):
            compare.read([a, b], None)


def test_what_has_no_accuracy_or_no_rows_is_refused(tmp_path):
    bare = save(tmp_path / "a", [None, 1.0])
    with pytest.raises(UserError, match=r"1 of 2 rows have no accuracy \(ids 0\)"):
        compare.read([bare], None)
    empty = save(tmp_path / "e", [])
    with pytest.raises(UserError, match="has no rows"):
        compare.read([empty], None)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("data: {select: val}\n")
    with pytest.raises(UserError, match=f"make them: limner evaluate run={run} split=val"):
        compare.read([str(run)], None)
    with pytest.raises(UserError, match="--resamples 5"):
        compare.main(["a", "b", "--resamples", "5"])
