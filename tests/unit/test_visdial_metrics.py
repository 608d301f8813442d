"""VisDial's metrics equal to a slow and plain computation, with a rule for ties, and errors that list what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_visdial import content, judged, write

from limner.data.visdial_files import from_dialogs, load_split
from limner.errors import UserError
from limner.metrics.bootstrap import compare, intervals
from limner.metrics.visdial import DialogMetrics, lines_of, ndcg, ranks, retrieval
from limner.metrics.visdial_types import TYPES, question_type


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    file = content(5, dialogs=6, rounds=4)
    return load_split(write(folder / "d.json", file), write(folder / "r.json", judged(file)[:4]))


def rows_of(split, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "image_id": int(split.image_id[split.dialog[n]]),
            "round_id": int(split.round_id[n]),
            "ranks": (rng.permutation(int(split.option_counts[n])) + 1).tolist(),
        }
        for n in split.ranked.tolist()
    ]


def plain_ndcg(rank, relevance):
    relevant = sum(share > 0 for share in relevance)
    order = sorted(range(len(rank)), key=lambda option: rank[option])
    gain = sum(relevance[option] / math.log2(place + 2) for place, option in enumerate(order[:relevant]))
    best = sorted(relevance, reverse=True)
    return gain / sum(share / math.log2(place + 2) for place, share in enumerate(best[:relevant]))


# --- arrays ---


@given(st.lists(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -np.inf, 1e-30]), min_size=1, max_size=9))
def test_ranks(scores):
    order = sorted(range(len(scores)), key=lambda option: (-scores[option], option))
    expected = [order.index(option) + 1 for option in range(len(scores))]
    assert ranks(np.array(scores)).tolist() == expected
    assert ranks(np.array([scores, scores], np.float32)).tolist() == [expected] * 2


def test_nan_cannot_be_ranked():
    with pytest.raises(UserError, match="2 of 4 scores are nan: nothing can be ranked"):
        ranks(np.array([[0, np.nan], [np.nan, 1]]))


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_retrieval(rank):
    found = retrieval(np.array(rank))
    assert found["mrr"] == pytest.approx(100 * sum(1 / place for place in rank) / len(rank))
    for most in (1, 5, 10):
        assert found[f"r@{most}"] == pytest.approx(100 * sum(place <= most for place in rank) / len(rank))
    assert found["mean"] == pytest.approx(sum(rank) / len(rank))


@given(st.data())
def test_ndcg(data):
    width = data.draw(st.integers(1, 9))
    rank = data.draw(st.permutations(range(1, width + 1)))
    relevance = data.draw(st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=width, max_size=width))
    found = ndcg(np.array([rank, rank]), np.array([relevance, relevance]))
    assert found.shape == (2,)
    if any(relevance):
        assert found.tolist() == pytest.approx([plain_ndcg(rank, relevance)] * 2)
        best = np.argsort(np.argsort(-np.array(relevance), kind="stable")) + 1
        assert ndcg(best, np.array(relevance)) == pytest.approx(1.0)
    else:
        assert np.isnan(found).all()


# --- rows ---


def test_score_is_the_plain_one(split):
    rows = rows_of(split)
    scores = DialogMetrics(split).score(reversed(rows))
    given = {(row["image_id"], row["round_id"]): row["ranks"] for row in rows}
    rank = [row["ranks"][truth] for row, truth in zip(rows, split.gt_index)]
    shares = [split.relevance[a:b].tolist() for a, b in zip(split.dense_first, split.dense_first[1:])]
    keys = [(int(split.image_id[split.dialog[n]]), int(split.round_id[n])) for n in split.dense]
    each = [plain_ndcg(given[key], share) for key, share in zip(keys, shares)]
    assert list(scores.corpus) == ["ndcg", "mrr", "r@1", "r@5", "r@10", "mean"]
    assert scores.corpus == pytest.approx({"ndcg": 100 * np.mean(each), **retrieval(np.array(rank))})
    for number in range(1, 5):
        there = np.array([place for place, row in zip(rank, rows) if row["round_id"] == number])
        assert scores.per_round[number] == pytest.approx({**retrieval(there), "rounds": 6})
    assert list(scores.per_round) == [1, 2, 3, 4]
    for name, values in scores.per_type.items():
        there = np.array(
            [p for p, question in zip(rank, split.question) if question_type(split.questions[question]) == name]
        )
        assert values == pytest.approx({**retrieval(there), "rounds": len(there)})
    counts = [values["rounds"] for values in scores.per_type.values()]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 24
    for place, image in enumerate(split.image_id.tolist()):
        there = retrieval(np.array(rank[4 * place : 4 * place + 4]))
        extra = {"ndcg": 100 * each[place]} if place < 4 else {}
        assert scores.per_image[image] == pytest.approx({**there, **extra})
    assert scores.notes == []


def test_scores_stand_for_ranks(split):
    rows = rows_of(split)
    metrics = DialogMetrics(split)
    scored = [
        {"image_id": row["image_id"], "round_id": row["round_id"], "scores": [-rank for rank in row["ranks"]]}
        for row in rows
    ]
    assert metrics.score(scored).corpus == metrics.score(rows).corpus
    assert metrics.score_ranks([np.array(row["ranks"]) for row in rows]).corpus == metrics.score(rows).corpus
    assert metrics.score_ranks(np.array([row["ranks"] for row in rows])).corpus == metrics.score(rows).corpus


def test_intervals_and_comparison(split):
    scores, other = (DialogMetrics(split).score(rows_of(split, seed)) for seed in (0, 1))
    found = intervals(scores.statistics, samples=300)
    assert set(found) == set(scores.corpus)
    for name, (low, high) in found.items():
        assert low <= scores.corpus[name] <= high, name
        assert low < high or name in ("r@5", "r@10"), name  # there are five options
    differences = compare(scores.statistics, other.statistics, samples=50)
    for name, told in differences.items():
        assert told.difference == pytest.approx(other.corpus[name] - scores.corpus[name])


def test_a_round_where_nothing_is_relevant(tmp_path):
    file = content(5, dialogs=3)
    dense = judged(file)
    dense[1]["gt_relevance"] = [0] * 5
    found = load_split(write(tmp_path / "d.json", file), write(tmp_path / "r.json", dense))
    scores = DialogMetrics(found).score(rows_of(found))
    known = [values["ndcg"] for values in scores.per_image.values() if "ndcg" in values]
    assert len(known) == 2
    assert scores.corpus["ndcg"] == pytest.approx(np.mean(known))
    assert scores.notes == ["1 of 3 judged rounds have no relevant option and are not in NDCG"]
    assert lines_of(scores)[-1] == scores.notes[0]


def test_without_dense_annotations(tmp_path):
    found = load_split(write(tmp_path / "d.json", content(5)))
    scores = DialogMetrics(found).score(rows_of(found))
    assert list(scores.corpus) == ["mrr", "r@1", "r@5", "r@10", "mean"]


def test_rounds_with_different_numbers_of_options():
    talk = [
        {"question": "is it", "answer": "yes", "answer_options": ["no", "yes"], "gt_index": 1},
        {"question": "how many", "answer": "two", "answer_options": ["two", "a", "b"], "gt_index": 0},
    ]
    found = from_dialogs([{"image_id": 4, "caption": "a dog", "dialog": talk}])
    rows = [{"image_id": 4, "round_id": 1, "ranks": [2, 1]}, {"image_id": 4, "round_id": 2, "ranks": [3, 1, 2]}]
    assert DialogMetrics(found).score(rows).corpus["mean"] == 2.0


def test_a_test_split_has_no_metrics(tmp_path):
    found = load_split(write(tmp_path / "d.json", content(split="test")))
    with pytest.raises(UserError, match="the split tells no answers; write its ranks for the evaluation server"):
        DialogMetrics(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], r"ranks of 23 rounds for 24: 1 missing \(image 100 round 1\); expected exactly one"),
        (lambda rows: [*rows, rows[3]], r"1 double \(image 100 round 4\)"),
        (lambda rows: [*rows, {**rows[0], "round_id": 5}], r"ranks of 25 .* 1 unknown \(image 100 round 5\)"),
        (
            lambda rows: [{**rows[0], "image_id": 3}, *rows[1:]],
            r"1 missing \(image 100 round 1\), 1 unknown \(image 3 ",
        ),
        (
            lambda rows: [{**rows[0], "ranks": [1, 2, 3, 4, 4]}, *rows[1:]],
            r"image 100, round 1: its ranks are \[1, 2, 3, ",
        ),
        (lambda rows: [{**rows[0], "ranks": [0, 1, 2, 3, 4]}, *rows[1:]], "expected a permutation of 1 to 5"),
        (lambda rows: [{**rows[0], "ranks": [1, 2, 3]}, *rows[1:]], "expected a permutation of 1 to 5"),
        (
            lambda rows: [{"image_id": 100, "round_id": 1}, *rows[1:]],
            r"found \{'image_id': 100, 'round_id': 1\}, expec",
        ),
        (lambda rows: [{**rows[0], "ranks": "x"}, *rows[1:]], "expected a permutation"),
        (lambda rows: [7], "found 7, expected image_id, round_id, ranks"),
    ],
)
def test_rows_that_do_not_fit(split, change, message):
    with pytest.raises(UserError, match=message) as caught:
        DialogMetrics(split).score(change(rows_of(split)))
    assert "\n" not in str(caught.value)


def test_tables(split):
    scores = DialogMetrics(split).score(rows_of(split))
    lines = lines_of(scores, {"mrr": (1.0, 99.5)})
    assert lines[0].split() == ["NDCG", f"{scores.corpus['ndcg']:.2f}"]
    assert lines[1].endswith("1.00 to 99.50")
    at = lines.index("")
    assert lines[at + 1].split() == ["round", "MRR", "R@1", "R@5", "R@10", "Mean", "rank", "rounds"]
    assert [line.split()[0] for line in lines[at + 2 : at + 6]] == ["1", "2", "3", "4"]
    assert lines[at + 7].split()[0] == "question"
    widths = {len(line) for line in lines[at + 1 : at + 6]}
    assert len(widths) == 1


# --- types of questions ---


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("is it sunny", "yes/no"),
        ("And are  there any people?", "yes/no"),
        ("isn't it", "yes/no"),
        ("anything else", "yes/no"),
        ("what color is it", "what color"),
        ("what is the colour of the dog", "what color"),
        ("what colors are they", "what color"),
        ("so, what is it", "what"),
        ("how many dogs", "how many"),
        ("how old is he", "how"),
        ("where is it", "where"),
        ("whose dog is it", "who"),
        ("what time is it", "why, when"),
        ("which one", "which"),
        ("island", "other"),
        ("male or female", "other"),
        ("", "other"),
    ],
)
def test_types(question, kind):
    assert question_type(question) == kind
    assert kind in TYPES


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_every_question_has_a_type(question):
    assert question_type(question) in TYPES
