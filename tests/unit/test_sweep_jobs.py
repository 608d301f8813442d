"""Jobs of sweeps as processes: none outlives its sweep, each has its own cores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_sweep import SCRIPT, config

from limner.errors import UserError
from limner.sweeps import job as jobs
from limner.sweeps import keeper, places


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jobs, "TRAIN", [sys.executable, str(SCRIPT)])
    monkeypatch.setattr(jobs, "LOOK", 0.01)


def test_no_process_of_a_failed_job_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_TEST_CHILD", str(tmp_path / "child"))
    jobs.run_job(config(), tmp_path / "0", ["seed=13"], [])
    assert gone(int((tmp_path / "child").read_text()))


def test_the_keeper_ends_its_group_when_the_parent_is_killed(tmp_path, monkeypatch):
    """SIGKILL of the process that waits for the job: the training and what it has started end."""
    monkeypatch.setenv("LIMNER_TEST_CHILD", str(tmp_path / "child"))
    monkeypatch.setenv("LIMNER_TEST_EPOCHS", "400:0.05")
    program = (
        "import os, subprocess, sys, time\n"
        "words = [sys.executable, '-m', 'limner.sweeps.keeper', str(os.getpid()), '', *sys.argv[1:]]\n"
        "print(subprocess.Popen(words, start_new_session=True).pid, flush=True); time.sleep(60)"
    )
    (tmp_path / "0").mkdir()
    words = [sys.executable, str(SCRIPT), f"paths.run={tmp_path / '0'}"]
    with subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        kept = int(parent.stdout.readline())
        wait_for(lambda: (tmp_path / "0/metrics.jsonl").is_file())
        parent.kill()
    wait_for(lambda: not group_there(kept))
    assert gone(int((tmp_path / "child").read_text()))


def test_the_keeper_sees_a_sweep_that_is_gone(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setenv(keeper.SWEEPER_ENV, f"{keeper.socket.gethostname()}:{process.pid}")
        sweeper = keeper.Sweeper()
        assert not sweeper.gone()
        process.kill()
        process.wait()
        assert sweeper.gone()
    monkeypatch.setenv(keeper.SWEEPER_ENV, f"another-machine:{process.pid}")
    assert not keeper.Sweeper().gone()


def test_a_job_that_ended_with_its_sweep_has_not_failed(tmp_path, monkeypatch):
    """The launcher's process writes nothing: the job is found lost, and is tried again."""
    monkeypatch.setattr(jobs.Sweeper, "gone", lambda self: True)
    jobs.run_job(config(), tmp_path / "0", ["seed=13"], [])
    jobs.run_job(config(), tmp_path / "1", ["seed=1"], [])
    assert [(tmp_path / name / "job.json").is_file() for name in "01"] == [False, True]


def test_places_are_disjoint(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    first, second = places.places("gpus", 2)
    assert (first.environment, second.environment) == (
        {"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "2,5"}
    )  # fmt: skip
    with pytest.raises(UserError, match=r"4 jobs .* cannot share 3 gpus"):
        places.places("gpus", 4)
    monkeypatch.setattr(places, "cores", lambda: [0, 1, 4, 5])
    with places.taken(tmp_path, "cores", 2) as one, places.taken(tmp_path, "cores", 2) as other:
        assert (one.cores, other.cores) == ((0, 1), (4, 5))
        assert one.environment == {"OMP_NUM_THREADS": "2"}
    with places.taken(tmp_path, "cores", 2) as again:
        assert again.cores == (0, 1)


def test_a_job_stays_on_its_cores(tmp_path):
    mine = places.cores()[:1]
    code, _ = jobs.run([*jobs.TRAIN, f"paths.run={tmp_path}"], tmp_path, mine, {}, None, quiet=True)
    assert code == 0
    assert json.loads((tmp_path / "started.json").read_text())["cores"] == mine


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def group_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    """Does a process end? A killed one may stay a moment, until its new parent has noticed."""

    def dead() -> bool:
        path = Path(f"/proc/{pid}/stat")
        try:
            return path.read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    try:
        wait_for(dead, 3)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        return False
    return True
