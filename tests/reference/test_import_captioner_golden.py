"""The published code's small captioner through `limner import ruotianluo`: the package computes what that code did."""

from __future__ import annotations

import argparse
import json
import pickle

import captioner_golden
import numpy as np
import pytest
import torch

from limner.cli import main
from limner.data.features import FeatureWriter
from limner.weights import package

EXACT = 1e-12


@pytest.fixture(params=captioner_golden.SETS)
def golden(shared, request):
    return captioner_golden.load(shared, request.param)


@pytest.fixture(params=["zip", "legacy"])
def imported(golden, shared, tmp_path, request):
    """The package, made by the command from model.pth and infos as the published training saves them."""
    config = json.loads((shared / "golden/captioner/updown_small.json").read_text())["config"]
    state = {name: tensor.float() for name, tensor in golden.state.items()}  # its weights are float32 numbers
    torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=request.param == "zip")
    vocab = config.pop("vocab")
    opt = argparse.Namespace(**config, caption_model="updown", logit_layers=1)
    infos = {"iter": 1, "vocab": vocab, "opt": opt, "best_val_score": np.float64(1.0)}
    (tmp_path / "infos_small.pkl").write_bytes(pickle.dumps(infos, 2))
    given = [str(tmp_path / "model.pth"), "--infos", str(tmp_path / "infos_small.pkl"), "--global-source", "given"]
    assert main(["import", "ruotianluo", *given, "--to", str(tmp_path / "package")]) == 0
    return tmp_path / "package"


def test_teacher_forced_log_probabilities(golden, imported):
    made = package.read(imported)
    model = made.model.double()
    given = golden.captions()
    with torch.no_grad():
        out = model(golden.feats, golden.mask, **given, given=golden.given)
    theirs = golden.arrays["tf_logprobs"][out.caption, out.step]
    found = golden.their_columns(out.logits.log_softmax(1))
    torch.testing.assert_close(found, theirs, atol=EXACT, rtol=0)


def test_captions_through_predict(golden, imported, tmp_path):
    """Features of a store have half precision: captions are the same, log-probabilities nearly."""
    for name, dim in (("regions", golden.feats.shape[2]), ("vectors", golden.given.shape[1])):
        with FeatureWriter(tmp_path / f"{name}.h5", dim=dim, extractor=f"golden {name}") as writer:
            for image in range(len(golden.feats)):
                rows = golden.feats[image][golden.mask[image]] if name == "regions" else golden.given[image][None]
                writer.add(image + 1, rows.numpy(), np.tile([0, 0, 9, 9], (len(rows), 1)).astype(np.float32), (9, 9))
    given = [f"model={imported}", f"features={tmp_path}/regions.h5", f"global_features={tmp_path}/vectors.h5"]
    given += ["decode=beam5", "decode.finished=aside", "decode.allow_unk=true", "decode.max_length=12", "device=cpu"]
    assert main(["predict", *given, f"out={tmp_path}/captions.jsonl"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    beams = [beams[0] for beams in golden.numbers["decode"]["beam5"]["beams"]]
    for row, beam in zip(rows, beams, strict=True):
        said = [golden.vocabulary.words[number - 1] for number in beam["seq"] if number > 0]
        assert row["caption"].split() == said
        assert row["logp"] == pytest.approx(sum(beam["token_logprob"][: len(said) + 1]), abs=0.02)
