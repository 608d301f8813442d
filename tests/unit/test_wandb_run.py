"""wandb beside a run: what it is told, and that nothing it does stops a training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import wandb

from limner.loggers.lines import JsonLines
from limner.loggers.wandb_run import WandbRun
from limner.run import RunFolder

CONFIG = SimpleNamespace(mode="offline", project="limner", entity=None, group="sweep-1", tags=["a"])


class Told:
    """Stands for wandb's run: keeps what it is told."""

    def __init__(self, step: int = 0, fails: bool = False):
        self.step, self.fails = step, fails
        self.rows: list[tuple[int, dict]] = []
        self.defined: dict[str, str | None] = {}
        self.summary: dict = {}
        self.artifacts: list = []
        self.finished = False

    def define_metric(self, name, summary=None, hidden=None):
        self.defined[name] = summary

    def log(self, row, step):
        if self.fails:
            raise ConnectionResetError("Connection lost")
        self.rows.append((step, row))

    def log_artifact(self, artifact, aliases):
        self.artifacts.append((artifact, aliases))

    def finish(self):
        self.finished = True


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`made(told)` is a WandbRun whose wandb run is `told`; `made.asked` what wandb.init was asked for."""
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    asked: dict = {}

    def make(told=None, **config) -> WandbRun:
        monkeypatch.setattr(wandb, "init", lambda **words: asked.update(words) or told)
        settings = {"seed": 1, "code": {"commit": "abc", "dirty": True}}
        chosen = SimpleNamespace(**{**vars(CONFIG), **config})
        return WandbRun(chosen, RunFolder(tmp_path), settings, monitor="val/r1", mode="max", task="visdial")

    make.asked = asked
    yield make
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)


def test_what_wandb_is_asked_for(made, tmp_path):
    told = Told()
    run = made(told)
    run.log_metrics({"train/loss": 0.5}, 3)
    asked = made.asked
    assert (asked["group"], asked["project"], asked["mode"], asked["resume"]) == ("sweep-1", "limner", "offline", None)
    assert asked["id"] == run.version == (tmp_path / "wandb_id.txt").read_text().strip()
    assert asked["config"] == {"seed": 1, "code": {"commit": "abc", "dirty": True}}
    assert asked["settings"].git_commit == "abc"
    assert told.rows == [(3, {"train/loss": 0.5})]
    assert told.defined["val/r1"] == told.defined["val/score"] == "max,last"
    assert told.defined["val/mean_rank"] == "min,last"
    assert "train/loss" not in told.defined
    assert asked["job_type"] == "visdial"
    again = made(Told(), mode="online")
    assert again.version == run.version
    assert again.experiment is not None
    assert made.asked["resume"] == "allow"


def test_a_resumed_run_shows_what_it_has(made, tmp_path):
    """In the order of steps, without what is not a number; online only what the server lacks."""
    metrics, speed = JsonLines(tmp_path / "metrics.jsonl"), JsonLines(tmp_path / "speed.jsonl")
    for step in (1, 2, 3):
        metrics.log_metrics({"train/loss": float("nan") if step == 2 else 1.0 / step, "epoch": 0}, step)
        speed.log_metrics({"speed/items": 10.0 * step}, step)
    told = Told()
    made(told).catch_up(metrics.path, speed.path)
    assert [step for step, _ in told.rows] == [1, 1, 2, 2, 3, 3]
    assert told.rows[2:4] == [(2, {"epoch": 0}), (2, {"speed/items": 20.0})]
    told = Told(step=3)
    made(told, mode="online").catch_up(metrics.path, speed.path)
    assert [step for step, _ in told.rows] == [3, 3]
    told = Told()
    made(told).catch_up(tmp_path / "nothing.jsonl")
    assert told.rows == []


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_failure_is_one_line_and_the_run_goes_on(made, monkeypatch, capsys, where):
    run = made(Told(fails=True))
    if where == "init":
        monkeypatch.setattr(wandb, "init", lambda **_: (_ for _ in ()).throw(wandb.errors.UsageError("no\nAPI key")))
    for step in (1, 2):
        run.log_metrics({"a": 1.0}, step)
    run.finish({"objective": 1.0, "epoch": 0, "metrics": {}})
    assert run.experiment is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: wandb: " + ("UsageError: no API key" if where == "init" else "ConnectionResetError: Conn")
    )
    assert "metrics.jsonl has everything" in line


def test_a_folder_in_the_way(made, tmp_path, capsys):
    (tmp_path / "wandb").write_text("a file")
    run = made(Told())
    run.log_metrics({"a": 1.0}, 1)
    assert made.asked == {}
    assert "File exists" in capsys.readouterr().err


def test_the_end(made, tmp_path):
    told = Told()
    run = made(told)
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.json").write_text(json.dumps({}))
    run.finish({"objective": 71.5, "epoch": 4, "metrics": {"test/score": 70.0}}, package)
    assert told.summary == {"objective": 71.5, "objective_epoch": 4}
    ((artifact, aliases),) = told.artifacts
    assert (artifact.type, aliases, artifact.metadata) == ("model", ["best"], {"test/score": 70.0})
    assert list(artifact.manifest.entries) == ["model.json"]
    assert told.finished
    run.log_metrics({"a": 1.0}, 1)
    assert told.rows == []
