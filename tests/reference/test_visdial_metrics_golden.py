"""Ranks and metrics equal to the official challenge code, and 97 real dialogs through all of evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from visdial_golden import real_split

from limner.data.dialog_encoding import DialogEncoder
from limner.data.wordpiece import WordPiece
from limner.metrics.visdial import DialogMetrics, ndcg, ranks, retrieval
from limner.submit_visdial import check_dialog_file, write_visdial_submission

KINDS = ("noties", "ties", "fp32_softmax_saturated")


@pytest.fixture(scope="module")
def synth(shared):
    folder = shared / "golden/visdial"
    return np.load(folder / "metrics_synth50.npz"), json.loads((folder / "metrics_synth50.json").read_text())


def percent(official):
    """The official numbers as limner tells them."""
    return {name: value if name == "mean" else 100 * value for name, value in official.items()}


def scored(rank, arrays):
    """Metrics of ranks (50, 10, 100) from arrays alone."""
    truth = np.take_along_axis(rank, arrays["gt_option_inds"][..., None], -1)[..., 0]
    judged = rank[np.arange(len(rank)), arrays["round_id"] - 1]
    each = ndcg(judged, arrays["gt_relevance"])
    return {**retrieval(truth.ravel()), "ndcg": 100 * each.mean()}, truth, each


@pytest.mark.parametrize("kind", KINDS)
def test_ranks(synth, kind):
    arrays, _ = synth
    expected = arrays[f"ranks_stable_{kind}" if kind != "noties" else "ranks_noties"]
    assert np.array_equal(ranks(arrays[f"scores_{kind}"]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics(synth, kind):
    arrays, official = synth
    found, _, _ = scored(ranks(arrays[f"scores_{kind}"]), arrays)
    assert found == pytest.approx(percent(official[kind]["metrics_with_stable_ties"]), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_of_the_official_ranks(synth, kind):
    """With the ranks that the official code drew for ties, its own metrics come out, for each dialog."""
    arrays, official = synth
    found, truth, each = scored(arrays[f"ranks_{kind}"].astype(np.int64), arrays)
    assert found == pytest.approx(percent(official[kind]["metrics"]), rel=1e-6, abs=1e-6)
    assert np.allclose(each, official[kind]["per_dialog_ndcg"], atol=1e-6)
    peer = official[kind].get("peer_per_round", {})
    assert kind != "noties" or len(peer) == 50
    for number in range(1, 11) if peer else ():
        told = retrieval(truth[:, number - 1])
        for ours, theirs in (("r@1", "r_1"), ("r@5", "r_5"), ("r@10", "r_10"), ("mrr", "mrr")):
            assert told[ours] / 100 == pytest.approx(peer[f"{theirs}_round_{number}"], abs=1e-9)
        assert told["mean"] == pytest.approx(peer[f"mean_round_{number}"], abs=1e-9)


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "golden/visdial"
    arrays = np.load(folder / "metrics_visdialconv97.npz")
    return real_split(shared), arrays, json.loads((folder / "metrics_visdialconv97.json").read_text())


def test_files_tell_what_the_official_reader_told(real):
    split, arrays, _ = real
    assert split.image_id.tolist() == arrays["image_id"].tolist()
    assert split.gt_index.tolist() == arrays["gt_option_inds"].ravel().tolist()
    assert split.round_id[split.dense].tolist() == arrays["round_id"].tolist()
    assert np.array_equal(split.relevance.reshape(97, 100), arrays["gt_relevance"])


def test_real_dialogs(real):
    split, arrays, official = real
    metrics = DialogMetrics(split)
    scores = metrics.score_ranks(arrays["ranks"].reshape(970, 100).astype(np.int64))
    assert scores.corpus == pytest.approx(percent(official["metrics"]), rel=1e-6)
    each = [scores.per_image[image]["ndcg"] / 100 for image in split.image_id.tolist()]
    assert np.allclose(each, official["per_dialog_ndcg"], atol=1e-6)


def test_ties_differ_only_where_scores_are_equal(real):
    """The official ranks of tied options are left to chance; all others are ours."""
    _, arrays, _ = real
    scores, official = arrays["scores"], arrays["ranks"].astype(np.int64)
    ours = ranks(scores)
    at = np.argsort(ours, -1)
    assert np.array_equal(np.take_along_axis(scores, at, -1), np.take_along_axis(scores, np.argsort(official, -1), -1))
    differs = ours != official
    tied = (scores[..., None] == scores[..., None, :]).sum(-1) > 1
    assert differs.any()
    assert not differs[~tied].any()


def test_real_dialogs_through_all_of_evaluation(real, shared, tmp_path):
    """Files, encoding, random scores of every row, metrics, the ranks file and its checker: nothing is dropped."""
    split, _, _ = real
    words = WordPiece.load(shared / "data/bert_vocab/vocab.txt")
    encoder = DialogEncoder(split, words)
    rng = np.random.default_rng(0)
    rows = []
    for number in split.ranked.tolist():
        made, _ = encoder.options(np.array([number]))
        tokens, _ = encoder.padded(made)
        scores = rng.standard_normal(len(tokens))
        ids = {"image_id": int(split.image_id[split.dialog[number]]), "round_id": int(split.round_id[number])}
        rows.append({**ids, "ranks": ranks(scores)})
    scores = DialogMetrics(split).score(rows)
    assert scores.corpus["mean"] == pytest.approx(50.5, abs=3)
    assert scores.corpus["r@10"] == pytest.approx(10, abs=3)
    assert 5 < scores.corpus["ndcg"] < 25
    assert len(scores.per_image) == 97
    assert sum(values["rounds"] for values in scores.per_round.values()) == 970
    assert sum(values["rounds"] for values in scores.per_type.values()) == 970
    path = tmp_path / "ranks.json"
    assert write_visdial_submission(path, rows) == 970
    source = shared / "data/visdial_v1_97/visdial_1.0_val_97.json.gz"
    assert check_dialog_file(path, source) == f"{path}: good: ranks of 970 rounds of 97 dialogs"
