"""Captions of a packaged captioner, of an ensemble, and of regions that are not as they should be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_packages import WORDS
from small_packages import captioner as package

import limner
from limner import cli
from limner.data.features import FeatureWriter
from limner.decode import Greedy
from limner.errors import UserError
from limner.inference.captions import Captioner, one_model
from limner.models.caption_ensemble import CaptionEnsemble
from limner.weights.package import save

REGIONS = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


def test_three_lines(tmp_path):
    save(tmp_path / "p", package())
    caption = limner.load(tmp_path / "p").caption(REGIONS)
    assert caption.text == " ".join(caption.words)
    assert set(caption.words) <= set(WORDS) - {"<unk>"}
    assert caption.attention.shape == (len(caption.words), 3)
    np.testing.assert_allclose(caption.attention.sum(1), 1, atol=1e-5)
    assert len(caption.beams) == 5
    assert caption.beams[0] == (caption.text, caption.logp)
    assert [logp for _, logp in caption.beams] == sorted((logp for _, logp in caption.beams), reverse=True)
    card = (tmp_path / "p/README.md").read_text()
    assert "model.caption(features)" in card
    assert "cross-entropy" in card


def test_a_batch_gives_what_single_images_give():
    captioner = Captioner([package()])
    feats = torch.zeros(2, 4, 6)
    feats[0, :3] = torch.from_numpy(REGIONS)
    feats[1] = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    both = captioner.batch(feats, mask)
    alone = [captioner.caption(REGIONS), captioner.caption(feats[1].numpy())]
    for mine, other in zip(both, alone):
        assert mine.text == other.text
        assert mine.logp == pytest.approx(other.logp, abs=1e-5)
        np.testing.assert_allclose(mine.attention, other.attention, atol=1e-5)
    assert both[0].attention.shape[1] == 3


def test_another_decoder_and_a_caption_that_was_cut():
    captioner = Captioner([package()], decode=Greedy(max_length=2, min_length=2, attention=True))
    caption = captioner.caption(REGIONS)
    assert len(caption.words) == 2
    assert caption.ended is False
    assert caption.beams == [(caption.text, caption.logp)]


def test_an_ensemble_averages_probabilities():
    parts = [package(0), package(1)]
    model = one_model(parts)
    assert isinstance(model, CaptionEnsemble)
    feats, mask = torch.from_numpy(REGIONS)[None], torch.ones(1, 3, dtype=torch.bool)
    bos = torch.tensor([len(WORDS) + 1])
    logits, _, attention = model.step(bos, model.begin(feats, mask))
    each = [part.model.step(bos, part.model.begin(feats, mask)) for part in parts]
    expected = torch.stack([logits.softmax(1) for logits, _, _ in each]).mean(0)
    torch.testing.assert_close(logits.exp(), expected)
    torch.testing.assert_close(attention, torch.stack([attention for _, _, attention in each]).mean(0))
    assert len(Captioner(parts).caption(REGIONS).beams) == 5


def test_what_cannot_write_together():
    with pytest.raises(UserError, match="other words"):
        one_model([package(), package(words=[*WORDS[:-1], "star"])])
    first, imported, other = package(), package(), package()  # "unknown" stands in all
    first.meta["features"] = {**first.meta["features"], "extractor": "components"}
    other.meta["features"] = {**other.meta["features"], "extractor": "grid"}
    one_model([first, imported])
    with pytest.raises(UserError, match=r"package 3 was trained on other features \(extractor\)"):
        one_model([first, imported, other])


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (np.zeros((3, 7), np.float32), "7 numbers a region, the model expects 6"),
        (np.zeros((0, 6), np.float32), "one region or more"),
        (np.full((2, 6), np.nan, np.float32), "NaN"),
    ],
)
def test_regions_that_cannot_be(features, told):
    with pytest.raises(UserError, match=told):
        Captioner([package()]).caption(features)


def test_boxes_for_a_model_with_geometry():
    captioner = Captioner([package(geometry=True)])
    boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20], [0, 0, 40, 30]])
    here = captioner.caption(REGIONS, boxes=boxes, size=(40, 30))
    moved = captioner.caption(REGIONS, boxes=boxes[::-1].copy(), size=(40, 30))
    assert here.logp != moved.logp
    with pytest.raises(UserError, match="geometry"):
        captioner.caption(REGIONS)


@pytest.fixture
def given(tmp_path):
    """A package that wants vectors, regions of two images, and a vector of each in the other order."""
    save(tmp_path / "p", package(global_source="given", global_dim=3))
    with FeatureWriter(tmp_path / "regions.h5", dim=6, extractor="test") as writer:
        for image in (5, 9):
            writer.add(image, REGIONS * image, np.tile([0, 0, 9, 9], (3, 1)), (9, 9))
    for name, dim in (("vectors", 3), ("others", 4)):
        with FeatureWriter(tmp_path / f"{name}.h5", dim=dim, extractor="fc") as writer:
            for image in (9, 5):
                writer.add(image, np.full((1, dim), image / 8), np.array([[0, 0, 9, 9]]), (9, 9))
    return tmp_path


def predict_words(folder, model="p", **changes) -> list[str]:
    chosen = {"model": folder / model, "features": folder / "regions.h5", "out": folder / "out.jsonl", "device": "cpu"}
    chosen |= {"global_features": folder / "vectors.h5", "batch_size": 1, **changes}
    return ["predict", *(f"{key}={value}" for key, value in chosen.items() if value is not None)]


def test_predict_reads_global_vectors(given):
    assert cli.main(predict_words(given)) == 0
    captioner = limner.load(given / "p")
    rows = [json.loads(line) for line in (given / "out.jsonl").read_text().splitlines()]
    for row, image in zip(rows, (5, 9), strict=True):
        regions = (REGIONS * image).astype(np.float16)
        want = captioner.caption(regions, given=np.full(3, image / 8, np.float32))
        assert (row["image_id"], row["caption"]) == (image, want.text)
        assert row["logp"] == pytest.approx(want.logp, abs=1e-5)


def test_global_vectors_that_do_not_fit(given, capsys):
    save(given / "mean", package())
    for words, said in (
        (predict_words(given, global_features=None), "must be given: the model wants a vector of 3 numbers an image"),
        (predict_words(given, model="mean"), "the model takes the mean of the regions: leave it out"),
        (predict_words(given, global_features=given / "others.h5"), "vectors of 4 numbers, but the model wants 3"),
        (predict_words(given, global_features=given / "no.h5"), "there is no file"),
    ):
        assert cli.main(words) == 2
        assert f"global_features: {said}" in capsys.readouterr().err
