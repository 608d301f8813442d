"""A run that was interrupted anywhere and resumed leaves the same bytes as one that was not."""

from __future__ import annotations

import shutil
import signal

import pytest
from equal_runs import same, status

from limner.reports.source import read_metrics

KILL, TERM, INT = int(signal.SIGKILL), int(signal.SIGTERM), int(signal.SIGINT)


@pytest.mark.parametrize(
    ("point", "code", "state"),
    [
        (f"step:6:{KILL}", -KILL, "running"),  # in the first epoch, two steps after the last save
        (f"validation:2:{KILL}", -KILL, "running"),
        (f"test:1:{KILL}", -KILL, "running"),  # everything is trained, nothing is packaged
        (f"validation:1:{TERM}", 143, "stopped"),
    ],
)
def test_interrupted_and_resumed(limner, trained, point, code, state):
    run = limner.train("run", interrupt=point, expect=code)
    assert status(run)["state"] == state
    assert not (run / "result.json").exists()
    limner("train", f"resume={run}")
    assert status(run)["state"] == "done"
    same(run, trained)


def test_interrupted_twice_in_one_epoch(limner, trained):
    run = limner.train("run", interrupt=f"step:17:{TERM}", expect=143)
    assert status(run)["reason"] == "SIGTERM"
    limner("train", f"resume={run}", interrupt=f"step:19:{INT}", expect=130)
    assert status(run)["reason"] == "SIGINT"
    limner("train", f"resume={run}")
    same(run, trained)


@pytest.mark.parametrize(("point", "code"), [(f"step:14:{KILL}", -KILL), (f"step:15:{TERM}", 143)])
def test_two_processes(limner, trained_by_two, point, code):
    run = limner.train("run", "trainer=ddp_cpu", interrupt=point, expect=code)
    limner("train", f"resume={run}")
    assert status(run)["state"] == "done"
    same(run, trained_by_two)


def test_the_same_command_again_goes_on(limner, trained):
    """What a scheduler does that starts a command again: `resume=auto` begins, continues, continues."""
    for point in (f"step:3:{KILL}", f"step:14:{KILL}"):  # the first before anything is saved
        limner.train("run", "resume=auto", interrupt=point, expect=-KILL)
    run = limner.train("run", "resume=auto")
    same(run, trained)


def test_two_processes_train_like_one(limner):
    """The same global batches, the last one shared unequally: curves and scores are equal but for rounding."""
    words = ["model.dropout_attention=0", "model.dropout_classifier=0", "data.limit=295", "trainer.max_epochs=2"]
    runs = limner.train("one", *words), limner.train("two", *words, "trainer=ddp_cpu")
    one, two = (read_metrics(run / "metrics.jsonl") for run in runs)
    assert len(one) == len(two) == 2 * (10 + 1) + 1
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


def test_more_epochs_on_resume(limner, trained):
    """Two epochs and one more are three, and the run folder says three."""
    run = limner.train("run", "trainer.max_epochs=2")
    limner("train", f"resume={run}", "trainer.max_epochs=3")
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "test/" not in line]
    assert lines == [line for line in (trained / "metrics.jsonl").read_text().splitlines() if "test/" not in line]
    assert "max_epochs: 3" in (run / "config.yaml").read_text()
    assert (run / "package/model.safetensors").read_bytes() == (trained / "package/model.safetensors").read_bytes()


def test_refused(limner, trained, toy, tmp_path):
    """Other data, unknown keys, no checkpoint, a run that still goes on: one line, exit code 2, nothing changed."""
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    before = (run / "metrics.jsonl").read_bytes()
    cases = {
        "data.limit=30": "the data changed since the run stopped",
        "trainer.max_epoch=9": "did you mean 'trainer.max_epochs'?",
        "trainer.max_epochs=x": "found 'x', expected int",
        "optim=adam": "a whole group cannot change",
    }
    for words, message in cases.items():
        done = limner("train", f"resume={run}", words, expect=2)
        lines = [line for line in done.stderr.splitlines() if line]
        assert len(lines) == 1, done.stderr
        assert message in lines[0]
    assert (run / "metrics.jsonl").read_bytes() == before
    for name in ("last", "previous"):
        (run / f"checkpoints/{name}.ckpt").write_bytes(b"PK damaged")
    said = limner("train", f"resume={run}", expect=2).stderr
    assert said.count("damaged") == 2
    assert "start the run again" in said
    (run / "checkpoints/last.ckpt").unlink()
    assert "no checkpoints/last.ckpt" in limner("train", f"resume={run}", expect=2).stderr
