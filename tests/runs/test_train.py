"""Training as users call it: presets, sweeps, several processes, failures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from limner.reports.source import read_metrics


def status(run: Path) -> dict:
    return json.loads((run / "status.json").read_text())


def test_a_finished_run_folder(limner, trained):
    """Everything the README promises is there, and says the same."""
    state, result = status(trained), json.loads((trained / "result.json").read_text())
    assert (state["state"], state["exit_code"]) == ("done", 0)
    assert state["objective"] == result["objective"] == result["metrics"]["val/score"]
    lines = read_metrics(trained / "metrics.jsonl")
    scores = [line["val/score"] for line in lines if "val/score" in line]
    assert len(scores) == 3
    assert max(scores) == result["objective"]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 31))
    assert not list(trained.rglob("*.part"))
    assert "done" in limner("ls", "runs", "--outputs", str(trained.parent)).stdout


def test_debug_presets(limner):
    run = limner.train("fdr", "debug=fdr", "trainer.max_epochs=1")
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "train/loss" in line]
    assert [line["step"] for line in lines] == [1, 2]
    plain = ["model.dropout_attention=0", "model.dropout_classifier=0", "model.classifier_hidden=128"]
    run = limner.train(
        "overfit", "debug=overfit", "trainer.max_epochs=100", "model.hidden=128", "optim.lr=0.01", *plain
    )
    assert json.loads((run / "result.json").read_text())["objective"] > 80


def test_train_and_val_for_a_submission(limner):
    done = limner("train", "--cfg", "job", "experiment=toy_vqa", "data.fit=[train,val]")
    assert "fit:\n  - train\n  - val" in done.stdout
    run = limner.train("run", "data.fit=[train,val]", "trainer.max_epochs=1", "data.batch_size=1000")
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl") if "train/loss" in line] == [1]
    package = json.loads((run / "package/model.json").read_text())
    assert package["config"]["data"]["fit"] == ["train", "val"]


def test_patience_stops(limner):
    """Nothing is learned at a rate of 0: the first epoch stays the best, and two more are granted."""
    run = limner.train("run", "optim.lr=0", "callbacks.patience=2", "trainer.max_epochs=9")
    assert [line["epoch"] for line in read_metrics(run / "metrics.jsonl") if "val/score" in line] == [0, 1, 2]


def test_validation_every_second_epoch(limner):
    run = limner.train(
        "run", "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3", "trainer.accumulate_grad_batches=3"
    )
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["epoch"] for line in lines if "val/score" in line] == [1]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 13))  # 10 batches make 4 steps


@pytest.mark.parametrize("trainer", ["default", "ddp_cpu"])
def test_a_loss_that_is_not_finite_ends_the_run(limner, trainer):
    run = limner.folder / "run"
    done = limner.train_fails("run", f"trainer={trainer}", "optim=sgd", "optim.lr=1e30")
    assert "train/loss is" in done.stderr.strip().splitlines()[-1]
    assert status(run)["state"] == "failed"
    assert status(run)["exit_code"] == 2


def test_sweep(limner):
    """Three jobs of which one fails: the others finish, the exit code says so, the table has them all."""
    words = limner.small()
    done = limner(
        "train",
        "-m",
        *words,
        "trainer.max_epochs=1",
        "optim.lr=1e-3,2e-3,-1",
        f"paths.outputs={limner.folder}",
        expect=1,
    )
    (sweep,) = (limner.folder / "sweeps/toy_vqa").iterdir()
    table = (sweep / "leaderboard.md").read_text()
    assert table in done.stdout
    with open(sweep / "leaderboard.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done", "done", "failed"]
    assert float(rows[0]["val/score"]) >= float(rows[1]["val/score"])
    assert rows[2]["optim.lr"] == "-1"
    assert [status(sweep / job)["state"] for job in "01"] == ["done", "done"]


def test_sweep_on_two_processes(limner):
    """Each rank trains the job it belongs to: the folder has one run, and nothing else is made."""
    words = limner.small()
    limner("train", "-m", *words, "trainer=ddp_cpu", "trainer.max_epochs=1", "seed=3", f"paths.outputs={limner.folder}")
    (sweep,) = (limner.folder / "sweeps/toy_vqa").iterdir()
    assert sorted(p.name for p in sweep.iterdir() if p.is_dir()) == ["0"]
    assert status(sweep / "0")["state"] == "done"
    assert not (limner.folder / "toy_vqa").exists()
