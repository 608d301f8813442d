"""The captioner through the command line: cross-entropy, SCST, resume, two processes, captions of other regions."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from equal_runs import logged, same, status
from small_captions import SCST, SMALL, XE

from limner.loggers import names
from limner.metrics import rows as rows_of

KILL = int(signal.SIGKILL)


def train(limner, run: Path, *words: str, **how) -> Path:
    limner("train", *SMALL, f"paths.data={limner.data.parent}", f"paths.run={run}", *words, **how)
    return run


@pytest.fixture(scope="module")
def xe(tmp_path_factory, toy) -> Path:
    """A captioner after cross-entropy."""
    from conftest import Limner

    limner = Limner(tmp_path_factory.mktemp("xe"), toy)
    return train(limner, limner.folder / "run", *XE)


@pytest.fixture(scope="module")
def scst(tmp_path_factory, toy, xe) -> Path:
    """The same after SCST with the greedy baseline: what interrupted runs are compared to."""
    from conftest import Limner

    limner = Limner(tmp_path_factory.mktemp("scst"), toy)
    return train(limner, limner.folder / "run", *SCST, f"weights={xe}")


def test_scst_goes_on_from_the_weights(xe, scst):
    result = json.loads((scst / "result.json").read_text())
    assert result["metrics"]["test/bleu_1"] > 10  # words that every image has count nothing in CIDEr-D
    described = json.loads((scst / "package/model.json").read_text())
    assert "baseline=greedy" in described["signature"]
    assert "end=counted" in described["signature"]
    lines = [json.loads(line) for line in (scst / "metrics.jsonl").read_text().splitlines()]
    logged = {key for line in lines for key in line}
    wanted = {"sample_reward", "greedy_reward", "baseline", "advantage_std", "length", "ended", "bad_endings"}
    assert {f"train/{name}" for name in wanted} <= logged
    before = json.loads((xe / "package/vocab.json").read_text())
    assert json.loads((scst / "package/vocab.json").read_text()) == before


def test_names_are_those_of_the_list(xe, scst):
    """All but what is for mixed losses, GPUs and Java."""
    listed = {*names.in_training(names.CAPTIONS), *names.in_test(names.CAPTIONS)}
    rare = {"train/scst", "train/xe", "speed/gpu_memory", "test/meteor", "test/spice"}
    assert listed - rare <= logged(xe, scst) <= listed


@pytest.mark.parametrize("point", ["step:5", "step:9", "validation:2"])
def test_scst_killed_anywhere_and_resumed_is_the_same(limner, xe, scst, point):
    words = [*SCST, f"weights={xe}"]
    run = train(limner, limner.folder / "run", *words, interrupt=f"{point}:{KILL}", expect=-KILL)
    assert status(run)["state"] == "running"
    limner("train", f"resume={run}")
    same(run, scst)


def test_scst_without_weights_is_refused(limner):
    words = [*SMALL, f"paths.data={limner.data.parent}", "experiment=toy_caption_scst"]
    assert "weights=RUN" in limner("train", *words, expect=2).stderr


def test_two_processes_train_as_one(limner, toy):
    """The same draws of captions, losses over the tokens of both: equal up to the order of additions."""
    words = [
        "experiment=toy_caption_xe",
        "trainer.max_epochs=2",
        "data.captions_per_image=2",
        "optim=sgd",
        "optim.lr=0.1",
    ]
    one = train(limner, limner.folder / "one", *words)
    two = train(limner, limner.folder / "two", *words, "trainer=ddp_cpu")
    a, b = (torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (one, two))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=2e-4, atol=2e-5, msg=name)


def test_evaluation_is_the_same_on_two_processes(limner, scst):
    for name, more in (("one", []), ("two", ["trainer=ddp_cpu"])):
        words = [f"run={scst}", "split=val", "decode=beam3", f"out={limner.folder / name}", "submission=true"]
        limner("evaluate", *words, *more)
    one, two = (json.loads((limner.folder / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert one["items"] == 16
    rows = [list(rows_of.read(limner.folder / name / "rows.jsonl.gz")) for name in ("one", "two")]
    assert [row["caption"] for row in rows[0]] == [row["caption"] for row in rows[1]]
    row = rows[0][0]
    assert len(row["references"]) == 5
    assert len(row["attention"]) == len(row["tokens"])
    assert row["cider_d"] >= 0
    submission = limner.folder / "one/submission.json"
    limner("submission", "check", str(submission), str(limner.data / "dataset_toy.json"), "--split", "val")


def test_scst_on_two_processes(limner, xe):
    """Each process rewards its own images; together they log the means over all."""
    run = train(limner, limner.folder / "run", *SCST, f"weights={xe}", "trainer=ddp_cpu", "trainer.max_epochs=1")
    assert status(run)["state"] == "done"
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["train/sample_reward"] > 0


def test_predict_an_ensemble_and_a_report(limner, xe, scst):
    packages = f"model=[{xe / 'package'},{scst / 'package'}]"
    features = f"features={limner.data / 'regions.h5'}"
    limner(
        "predict", packages, features, "images=[1000001,1000002]", "beams=true", "decode=beam3", "out=captions.jsonl"
    )
    rows = list(rows_of.read(limner.folder / "captions.jsonl"))
    assert len(rows) == 2
    assert len(rows[0]["beams"]) == 3
    assert rows[0]["caption"] == rows[0]["beams"][0][0]
    assert len(rows[0]["attention"]) == len(rows[0]["tokens"])
    limner("predict", packages, features, "format=submission", "out=captions.json")
    assert len(json.loads((limner.folder / "captions.json").read_text())) == 92
    limner("report", str(scst), "--out", str(limner.folder / "report.html"))
    assert "CIDEr-D" in (limner.folder / "report.html").read_text()
    limner("compare", str(xe), str(scst), "--split", "test")
