"""Visual dialog through the command line: killed, stopped and resumed, dense from base, on one process and on two."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pytest
import torch
from equal_runs import logged, same, status
from small_dialogs import OPTIONS, ROUNDS, cut

from limner.loggers import names
from limner.reports.source import read_metrics
from limner.submit_visdial import check_dialog_file

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
DIALOGS = {"train": 15, "val": 5, "test": 4}
SMALL = [
    "logger=files",
    "trainer.threads=1",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_val_batches=1.0",
    "task.words_weight=0.5",
    "task.regions_weight=0.5",
    "data.mask_words=0.3",
    "data.mask_regions=0.3",
    "data.ranked=all",
    "callbacks.save_every_steps=2",
    "model.text_layers=2",
    "model.text_connections=[1]",
    "model.image_layers=2",
    "model.image_connections=[1]",
    "model.joint_hidden=16",
    "model.joint_heads=2",
    *(f"model.{stream}_{size}" for stream in ("text", "image") for size in ("hidden=16", "heads=2", "ffn=24")),
]
DROPOUT = [
    "dropout=true",
    *(f"model.dropout_{kind}=0.2" for kind in ("text", "image", "text_attention", "image_attention", "fused")),
]
BASE = ["experiment=toy_visdial", "data.per_image=6", "data.batch_size=24"]  # of 15 dialogs 4, 4, 4 and 3
DENSE = ["experiment=toy_visdial_dense", "data.dense_options=null", "trainer.accumulate_grad_batches=2", "task.rows=60"]
LEARN = [*DROPOUT, "optim.lr=0.02", "data.test=test"]
PLAIN = ["dropout=false", "optim.lr=0.5", "optim.eps=1", "data.test=null"]  # a small eps makes much of rounding


@pytest.fixture(scope="module")
def train(tmp_path_factory, toy):
    """`train(RUN, *WORDS)` trains a small ViLBERT on a few dialogs; returns the run folder."""
    from conftest import Limner

    words = [*SMALL, f"paths.data={toy.parent}", *cut(toy, tmp_path_factory.mktemp("dialogs"), **DIALOGS)]

    def call(run: Path, *more: str, **how) -> Path:
        Limner(run.parent, toy)("train", *words, *more, f"paths.run={run}", **how)
        return run

    return call


@pytest.fixture(scope="module")
def base(tmp_path_factory, train) -> Path:
    """The first stage, with dropout. Do not write into it."""
    return train(tmp_path_factory.mktemp("base") / "run", *BASE, *LEARN)


@pytest.fixture(scope="module")
def dense_words(base) -> list[str]:
    """The second stage: relevances, of two rounds a batch and two batches an update, its sequences in many parts."""
    return [*DENSE, *LEARN, f"data.batch_size={2 * OPTIONS}", f"weights={base}"]


@pytest.fixture(scope="module")
def dense(tmp_path_factory, train, dense_words) -> Path:
    return train(tmp_path_factory.mktemp("dense") / "run", *dense_words)


def weights(run: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/{checkpoint}.ckpt", weights_only=True)["state_dict"]


def test_names_are_those_of_the_list(base, dense):
    """The test split hides its answers: nothing is scored on it."""
    assert logged(base, dense) == {*names.in_training(names.DIALOG)} - {"speed/gpu_memory"}


def test_base_killed_and_resumed_is_the_same(train, limner, base):
    run = train(limner.folder / "run", *BASE, *LEARN, interrupt=f"step:7:{KILL}", expect=-KILL)
    assert status(run)["state"] == "running"
    limner("train", f"resume={run}")
    same(run, base)


def test_dense_stopped_killed_and_resumed_is_the_same(train, limner, dense, dense_words):
    """Between two updates, with random numbers that are drawn twice alike."""
    run = train(limner.folder / "run", *dense_words, interrupt=f"step:3:{TERM}", expect=143)
    assert (status(run)["state"], status(run)["reason"]) == ("stopped", "SIGTERM")
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    limner("train", f"resume={run}", interrupt=f"step:7:{KILL}", expect=-KILL)
    limner("train", f"resume={run}")
    assert status(run)["state"] == "done"
    same(run, dense)


def test_dense_trains_all_but_the_heads_that_it_does_not_ask(base, dense):
    before, after = weights(base, "best"), weights(dense)  # a package has the weights of the best epoch
    assert before.keys() == after.keys()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith(("model.words_head.", "model.regions_head."))}
    (state,) = torch.load(dense / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"]
    names = [group["name"] for group in state["param_groups"]]
    assert sorted(names) == [f"{stream}, {kind}" for stream in ("image", "language") for kind in ("decay", "no decay")]
    assert sum(len(group["params"]) for group in state["param_groups"]) == len(before) - len(still)
    words = [json.loads((run / "package/vocab.json").read_text())["words"] for run in (base, dense)]
    assert words[0] == words[1]


@pytest.mark.parametrize("stage", ["base", "dense"])
def test_two_processes_train_like_one(train, tmp_path, base, stage):
    """The same global batches, the last one shared unequally: losses and weights are equal but for rounding."""
    words = BASE if stage == "base" else [*DENSE, f"weights={base}", f"data.batch_size={4 * OPTIONS}"]
    one = train(tmp_path / "one", *words, *PLAIN)
    two = train(tmp_path / "two", *words, *PLAIN, "trainer=ddp_cpu")
    a, b = weights(one), weights(two)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6, msg=name)
    lines = [[line for line in read_metrics(run / "metrics.jsonl") if "lr" in line] for run in (one, two)]
    assert len(lines[0]) == len(lines[1]) == (8 if stage == "base" else 4)
    for mine, theirs in zip(*lines):
        for name, value in mine.items():  # what is left of gradients that cancel out shows more of the rounding
            assert value == pytest.approx(theirs[name], rel=1e-3 if name.startswith("grad/") else 1e-5), name


def test_evaluation_is_the_same_on_two_processes(limner, base):
    """Five dialogs, so that one is seen twice: rows, metrics and the ranks file are equal to the byte."""
    words = [f"run={base}", "split=val", "submission=true"]
    limner("evaluate", *words, "data.eval_batch_size=1", f"out={limner.folder / 'one'}")
    limner("evaluate", *words, "data.eval_batch_size=2", "trainer=ddp_cpu", f"out={limner.folder / 'two'}")
    for name in ("metrics.json", "submission.json", "rows.jsonl.gz"):
        unpack = gzip.decompress if name.endswith(".gz") else bytes
        one, two = (unpack((limner.folder / out / name).read_bytes()) for out in ("one", "two"))
        assert one == two, name
    found = json.loads((limner.folder / "two/metrics.json").read_text())
    assert found["items"] == DIALOGS["val"] * ROUNDS
    assert {"ndcg", "mrr", "r1"} <= set(found["metrics"])
    dialogs = json.loads((base / "package/model.json").read_text())["config"]["data"]["dialogs"]["val"]
    assert "15 rounds" in check_dialog_file(limner.folder / "two/submission.json", dialogs)
