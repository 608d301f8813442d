"""Candidate answers ranked by a packaged model, by an ensemble, from files; inputs that are not as they should be."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_packages import dialogs as package
from tiny_captions import write_store
from tiny_visdial import content, write

import limner
from limner.data.dialog_regions import with_whole_image
from limner.data.features.together import open_stores
from limner.errors import UserError
from limner.inference.dialogs import DialogEnsemble, DialogRanker, one_model, predict
from limner.submit_visdial import check_dialog_file, write_visdial_submission
from limner.weights.package import save

REGIONS = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
BOXES = np.array([[0, 0, 50, 40], [10, 10, 90, 30], [5, 0, 20, 80]], np.float32)
DIALOG = {"caption": "a red dog", "dialog": [{"question": "is it big", "answer": "yes"}]}
ASKED = {"dialog": DIALOG, "question": "is there a cat", "candidates": ["yes", "no", "two cats", "the ball"]}
SEEN = {"boxes": BOXES, "size": (100, 80)}


def test_three_lines(tmp_path):
    save(tmp_path / "p", package())
    best = limner.load(tmp_path / "p").rank(REGIONS, **ASKED, **SEEN)
    assert sorted(one.answer for one in best) == sorted(ASKED["candidates"])
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)


def test_a_score_is_the_models_log_odds():
    ranker = DialogRanker([package()])
    text = "[CLS] a red dog [SEP] is it big [SEP] yes [SEP] is there a cat [SEP] two cat ##s [SEP]"
    tokens = torch.tensor([[ranker.words.ids[word] for word in text.split()]])
    segments = torch.tensor([[1] * 5 + [0] * 4 + [1] * 2 + [0] * 5 + [1] * 4])
    feats, boxes = torch.from_numpy(REGIONS)[None], torch.from_numpy(BOXES)[None]
    seen = with_whole_image(feats, boxes, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[100, 80]]))
    with torch.no_grad():
        out = ranker.model(tokens, segments, torch.ones_like(tokens, dtype=torch.bool), *seen)
    found = {one.answer: one.score for one in ranker.rank(REGIONS, **ASKED, **SEEN)}
    assert found["two cats"] == pytest.approx(out.score.item(), abs=1e-5)


def test_image_and_dialog_matter():
    ranker = DialogRanker([package()])
    first = ranker.rank(REGIONS, **ASKED, **SEEN)
    assert ranker.rank(REGIONS + 1, **ASKED, **SEEN) != first
    assert ranker.rank(REGIONS, **ASKED) != first  # without boxes
    assert ranker.rank(REGIONS, **{**ASKED, "dialog": {}}, **SEEN) != first


def test_equal_candidates_keep_their_order():
    found = DialogRanker([package()]).rank(REGIONS, **{**ASKED, "candidates": ["no", "yes", "no"]})
    assert [one.answer for one in found] in (["no", "no", "yes"], ["yes", "no", "no"])


def test_an_ensemble_is_the_mean():
    packages = [package(0), package(1)]
    assert isinstance(one_model(packages), DialogEnsemble)
    each = [{one.answer: one.score for one in DialogRanker([p]).rank(REGIONS, **ASKED, **SEEN)} for p in packages]
    for answer, value in DialogRanker(packages).rank(REGIONS, **ASKED, **SEEN):
        assert value == pytest.approx((each[0][answer] + each[1][answer]) / 2, abs=1e-5)
    with pytest.raises(UserError, match="package 2 reads texts in another way"):
        one_model([package(), package(text={"history": 2})])


def test_text_alone():
    ranker = DialogRanker([package(fusion="text", text_connections=[], image_connections=[])])
    assert ranker.rank(None, **ASKED) == ranker.rank(REGIONS, **ASKED)


REFUSED = {
    "expected a list of one text or more": {"candidates": []},
    "found 'yes', expected a list": {"candidates": "yes"},
    "features: none were given": {"features": None},
    r"features have the shape \(3, 5\)": {"features": REGIONS[:, :5]},
    "features hold NaN": {"features": REGIONS * np.nan},
    "boxes and size belong together": {"size": None},
    r"boxes have the shape \(2, 4\), expected \(3, 4\)": {"boxes": BOXES[:2]},
    "field 'question' is missing": {"dialog": {"dialog": [{"answer": "yes"}]}},
}


@pytest.mark.parametrize("line", REFUSED)
def test_refusals(line):
    given = {"features": REGIONS, **ASKED, **SEEN, **REFUSED[line]}
    with pytest.raises(UserError, match=line):
        DialogRanker([package()]).rank(given.pop("features"), **given)


def asked_for(path, **changes):
    return SimpleNamespace(**{"mode": "single", "questions": str(path), "images": None, **changes})


@pytest.mark.parametrize("kind", ["val", "test"])
def test_predicting_a_file(tmp_path, kind):
    path = write(tmp_path / "d.json", content(1, split=kind))
    store = open_stores([write_store(tmp_path / "r.h5", {100: 2, 107: 1, 114: 3, 121: 2})])
    ranker = DialogRanker([package()])
    made, count = predict(ranker, store, asked_for(path))
    rows = list(made)
    assert len(rows) == count == (12 if kind == "val" else 4)
    write_visdial_submission(tmp_path / "s.json", rows)
    check_dialog_file(tmp_path / "s.json", path)
    for row in rows:
        assert row["ranks"][int(np.argmax(row["scores"]))] == 1
        assert row["best"][0][1] == max(row["scores"])
    few, count = predict(ranker, store, asked_for(path, images=[107]))
    assert list(few) == [row for row in rows if row["image_id"] == 107]


def test_predicting_ones_own_dialogs(tmp_path):
    asked = {"question": ASKED["question"], "answer_options": ASKED["candidates"]}
    dialogs = [{"image_id": 100, "caption": "a red dog", "dialog": [*DIALOG["dialog"], asked]}]
    path = tmp_path / "own.json"
    path.write_text(json.dumps(dialogs))
    store = open_stores([write_store(tmp_path / "r.h5", {100: 2})])
    ranker = DialogRanker([package()])
    (row,), count = (lambda found: (list(found[0]), found[1]))(predict(ranker, store, asked_for(path)))
    assert count == 1
    regions = store.read(np.array([0]))
    mine = ranker.rank(regions.feats[0], **ASKED, boxes=regions.boxes[0], size=store.size(0))
    assert [answer for answer, _ in row["best"]] == [one.answer for one in mine]


def test_files_that_cannot_be_ranked(tmp_path):
    ranker = DialogRanker([package()])
    with pytest.raises(UserError, match="questions: the model ranks answers in dialogs"):
        predict(ranker, None, asked_for("x", questions=None))
    path = tmp_path / "own.json"
    path.write_text(json.dumps([{"image_id": 7, "caption": "", "dialog": [{"question": "is it", "answer": "yes"}]}]))
    with pytest.raises(UserError, match="no answer_options to rank: images 7"):
        predict(ranker, None, asked_for(path))
    path.write_text("[{")
    with pytest.raises(UserError, match="is not JSON"):
        predict(ranker, None, asked_for(path))
    with pytest.raises(UserError, match=r"no such file|there is no file|missing"):
        predict(ranker, None, asked_for(tmp_path / "none.json"))
