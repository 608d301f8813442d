"""`resume=auto` finds the run that was begun alike, and no other."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from limner.files import write_json
from limner.run import RUN_ENV, RunFolder, make_run_folder
from limner.unfinished import FOUND_ENV, unfinished


def config(tmp_path, seed=1, run=None):
    paths = {"run": run, "outputs": str(tmp_path)}
    return OmegaConf.create({"name": "x", "seed": seed, "paths": paths, "trainer": {"num_nodes": 1}, "resume": None})


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in (RUN_ENV, FOUND_ENV, "LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "")  # what is set meanwhile is taken back
        monkeypatch.delenv(name)


def begun(tmp_path, date, *, seed=1, state="stopped", checkpoint=True):
    run = RunFolder(tmp_path / "x" / date)
    run.checkpoints.mkdir(parents=True)
    OmegaConf.save(config(tmp_path, seed), run.config)
    write_json(run.path / "status.json", {"state": state, "pid": 0, "host": "elsewhere"})
    if checkpoint:
        run.last.write_bytes(b"weights")
    return run.path


def test_nothing_was_begun(tmp_path):
    assert unfinished(config(tmp_path)) is None


def test_the_newest_that_was_begun_alike(tmp_path):
    begun(tmp_path, "20260101-120000")
    expected = begun(tmp_path, "20260102-120000-10", state="failed")
    begun(tmp_path, "20260102-120000-9")
    begun(tmp_path, "20260103-120000", seed=2)
    begun(tmp_path, "20260104-120000", state="done")
    begun(tmp_path, "20260105-120000", checkpoint=False)
    damaged = begun(tmp_path, "20260106-120000")
    (damaged / "config.yaml").write_text("a: [", encoding="utf-8")
    assert unfinished(config(tmp_path)) == expected


def test_one_that_still_goes_on_is_found_and_then_refused(tmp_path):
    begun(tmp_path, "20260101-120000")
    going = begun(tmp_path, "20260102-120000", state="running")
    assert unfinished(config(tmp_path)) == going


def test_processes_of_one_run_agree(tmp_path, monkeypatch):
    """A child decides as its parent did, although the parent has made a run meanwhile."""
    assert unfinished(config(tmp_path)) is None
    begun(tmp_path, "20260101-120000")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert unfinished(config(tmp_path)) is None


def test_a_folder_that_is_named(tmp_path):
    """It is begun again where a run died in it before its first checkpoint."""
    begun(tmp_path, "20260102-120000")
    named = begun(tmp_path, "mine", checkpoint=False)
    here = config(tmp_path, run=str(named))
    assert unfinished(here) is None
    assert make_run_folder(here, [], again=True).path == named
    (named / "checkpoints/last.ckpt").write_bytes(b"weights")
    assert unfinished(here) == named
