"""Run folders are unique, whole, and say truthfully how a run ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from limner.errors import UserError
from limner.files import write_json, write_whole
from limner.listing import runs
from limner.overrides import change
from limner.processes import number, started_by_lightning, started_outside
from limner.run import RUN_ENV, RunFolder, make_run_folder, open_run, unique_folder


def settings(tmp_path, run=None):
    return OmegaConf.create(
        {"name": "x", "paths": {"run": run, "outputs": str(tmp_path / "out")}, "trainer": {"num_nodes": 1}}
    )


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in (RUN_ENV, "RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(RUN_ENV, "")  # what the tests set is taken back


def test_processes_in_the_same_second_get_their_own_folders(tmp_path):
    """The stamp is the same for all; `mkdir` decides."""
    program = (
        "from limner.run import unique_folder as u; from pathlib import Path\n"
        f"for _ in range(20): print(u(Path({str(tmp_path)!r}), 'now').name)"
    )
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [name for process in started for name in process.communicate()[0].split()]
    assert len(names) == len(set(names)) == 80
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert {"now", "now-1", "now-79"} <= set(names)


def test_a_new_folder(tmp_path):
    first, second = (make_run_folder(settings(tmp_path), ["limner", "train", "a=b"]) for _ in range(2))
    assert first.path != second.path
    assert first.path.parent == tmp_path / "out/x"
    assert (first.path / "command.txt").read_text() == "limner train a=b\n"
    assert OmegaConf.load(first.config).name == "x"


def test_only_a_process_of_lightning_takes_its_parents_folder(tmp_path, monkeypatch):
    parent = make_run_folder(settings(tmp_path), [])
    assert os.environ[RUN_ENV] == str(parent.path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert make_run_folder(settings(tmp_path), []).path == parent.path
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert make_run_folder(settings(tmp_path), []).path != parent.path


def test_a_given_folder_is_never_overwritten(tmp_path):
    run = make_run_folder(settings(tmp_path, run=str(tmp_path / "here")), [])
    with pytest.raises(UserError, match="a run is already there; continue it with resume="):
        make_run_folder(settings(tmp_path, run=str(tmp_path / "here")), [])
    assert run.path == tmp_path / "here"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths\.outputs=DIR"):
        unique_folder(tmp_path / "file" / "x", "now")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, False, False)),
        ({"LOCAL_RANK": "0"}, (0, False, False)),
        ({"LOCAL_RANK": "2"}, (2, True, False)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, False, True)),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, (0, False, True)),
        ({"RANK": "3"}, (0, False, False)),  # of something else: torchrun sets both
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, (1, False, True)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, (2, False, True)),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, (0, False, False)),
    ],
)
def test_which_process_this_is(environment, expected):
    assert (number(environment), started_by_lightning(environment), started_outside(environment)) == expected


def test_status_and_a_process_that_died(tmp_path):
    run = RunFolder(tmp_path / "toy" / "20260101-120000")
    assert run.status() == {"state": "unknown"}
    run.write_status("running")
    started = run.status()["started"]
    assert run.state() == "running"
    write_json(run.path / "status.json", {**run.status(), "pid": 2**22 + 1})  # larger than any process number
    assert run.state() == "died"
    assert "died" in runs(tmp_path)[0]
    run.write_status("failed", reason="because", exit_code=2)
    assert run.status()["started"] == started
    assert run.state() == "failed"
    assert "because" in runs(tmp_path)[0]
    (run.path / "status.json").write_text("{")
    assert "cannot be read" in runs(tmp_path)[0]


def test_write_whole_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_whole(path, "new")
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_open_run(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        open_run(str(tmp_path))


def test_change_a_saved_configuration():
    config = OmegaConf.create(
        {"trainer": {"max_epochs": 3}, "data": {"files": {"train": "a"}, "fit": ["train"]}, "seed": 1}
    )
    change(config, "trainer.max_epochs=5", whole="w")
    change(config, "data.files.train=/b c", whole="w")
    change(config, "data.fit=[train,val]", whole="w")
    assert config.trainer.max_epochs == 5
    assert config.data.files.train == "/b c"
    assert list(config.data.fit) == ["train", "val"]
    for text, said in {
        "trainer.max_epoch=5": "did you mean 'trainer.max_epochs'",
        "sed=2": "did you mean 'seed'",
        "trainer=ddp": "a whole group cannot change",
        "+a=1": "is not a change",
        "seed": "is not a change",
        "seed=[": "is not an override",
        "seed.x=1": "has no key",
    }.items():
        with pytest.raises(UserError, match=said.replace("'", ".")):
            change(config, text, whole="w")
