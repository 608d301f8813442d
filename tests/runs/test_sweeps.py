"""Searches with real trainings: killed and continued, on two processes, through every launcher."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_slurm import install
from groups import group_lives

OPTIM = "_target_: recorded.SGD\n_partial_: true\nlr: 0.1\n"


@pytest.fixture
def words(limner, monkeypatch) -> list[str]:
    """The small experiment with one epoch and an optimiser that records what each process does."""
    (limner.folder / "conf/optim").mkdir(parents=True)
    (limner.folder / "conf/optim/recorded.yaml").write_text(OPTIM)
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    more = [
        "trainer.max_epochs=1",
        "optim=recorded",
        f"paths.outputs={limner.folder}",
        "callbacks.save_every_steps=null",
    ]
    return [*limner.small(), *more, "--config-dir", str(limner.folder / "conf")]


def rows(sweep: Path) -> list[dict[str, str]]:
    with open(sweep / "leaderboard.csv") as file:
        return list(csv.DictReader(file))


def recorded(job: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(job.glob("rank-*.json"))]


def left_in(folder: Path, seconds: float = 20) -> list[str]:
    """Command lines that name a folder and still run after a moment."""
    found: list[str] = []
    for _ in range(int(seconds / 0.1)):
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line and int(process.parent.name) != os.getpid():
                found.append(line)
        if not found:
            return []
        time.sleep(0.1)
    return found


def start(limner, words: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limner", "train", *words]
    return subprocess.Popen(
        command,
        cwd=limner.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(1200):
        if path.is_file():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    pytest.fail(f"{path} did not come")


def test_a_killed_search_goes_on(limner, words):
    """SIGKILL while job 1 trains: its processes end, and the same command tries it again and adds what is missing."""
    sweep = limner.folder / "sweeps/toy_vqa/search"
    words = [*words, "sweep=search", "optim.lr=tag(log,interval(1e-3,1e-1))", "sweep.trials=3"]
    with start(limner, words) as killed:
        wait_for(sweep / "0/output.txt", killed)
        refused = limner("train", *words, expect=2)
        assert f"process {killed.pid} on" in refused.stderr
        assert "searches here already" in refused.stderr
        wait_for(sweep / "1/metrics.jsonl", killed)
        killed.kill()
    assert left_in(sweep) == []
    first = (sweep / "0/metrics.jsonl").read_bytes()
    done = limner("train", *words)
    assert "job 1; tried once again" in done.stdout
    assert (sweep / "0/metrics.jsonl").read_bytes() == first
    found = {row["job"]: row for row in rows(sweep)}
    assert {job: row["state"] for job, row in found.items()} == {"0": "done", "1": "lost", "2": "done", "3": "done"}
    for job in "023":
        assert recorded(sweep / job)[0]["lr"] == float(found[job]["optim.lr"])
        assert json.loads((sweep / job / "result.json").read_text())["objective"] == float(found[job]["val/score"])
    command = next(line for line in (sweep / "leaderboard.md").read_text().splitlines() if line.startswith("limner "))
    assert f"optim.lr={rows(sweep)[0]['optim.lr']}" in shlex.split(command)
    page = (sweep / "report.html").read_text()
    assert page.count("<svg") == 4
    limner("report", str(sweep), "--out", str(limner.folder / "again.html"))
    assert (limner.folder / "again.html").read_text() == page
    assert "3 finished jobs" in limner("train", *words).stdout


def test_both_processes_of_a_job_train_the_same(limner, words):
    """In Hydra's own process, each rank would train another job of the sweep, and nobody would see it."""
    limner("train", *words, "sweep=grid", "optim.lr=0.01,0.05", "trainer=ddp_cpu")
    sweep = limner.folder / "sweeps/toy_vqa/grid"
    jobs = {row["job"]: recorded(sweep / row["job"]) for row in rows(sweep)}
    assert sorted(jobs) == ["0", "1"]
    for job, lr in (("0", 0.01), ("1", 0.05)):
        assert [one["rank"] for one in jobs[job]] == [0, 1]
        assert {one["ranks"] for one in jobs[job]} == {2}
        assert {one["lr"] for one in jobs[job]} == {lr}
        assert len({one["weights"] for one in jobs[job]}) == 1
    assert jobs["0"][0]["weights"] != jobs["1"][0]["weights"]
    assert not (limner.folder / "toy_vqa").exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two jobs need two cores")
def test_joblib_on_cores_of_their_own(limner, words):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    more = ["sweep=seeds5", "seed=1,2", "sweep.jobs=2", "sweep.pin=cores", "hydra/launcher=joblib"]
    done = limner("train", *words, *more)
    sweep = limner.folder / "sweeps/toy_vqa/seeds5"
    assert "| mean val/score | deviation | seeds |" in done.stdout
    places = [set(recorded(sweep / job)[0]["cores"]) for job in "01"]
    assert places[0]
    assert places[1]
    assert not places[0] & places[1]

    killed = [*words, *more, "sweep.name=killed", "trainer.max_epochs=500"]
    with start(limner, killed) as process:
        for job in "01":
            wait_for(limner.folder / f"sweeps/toy_vqa/killed/{job}/metrics.jsonl", process)
        process.kill()
    assert left_in(limner.folder) == []
    assert not group_lives(process.pid)  # joblib's own processes


def test_submitit_on_this_machine(limner, words):
    """One job fails, the other does not mind; then SIGTERM ends a sweep with all that it has started."""
    pytest.importorskip("submitit")
    local = ["hydra/launcher=submitit_local", "sweep=grid", "sweep.jobs=2"]
    limner("train", *words, *local, "optim.lr=0.01,-1", expect=1)
    sweep = limner.folder / "sweeps/toy_vqa/grid"
    assert [(row["state"], row["optim.lr"]) for row in rows(sweep)] == [("done", "0.01"), ("failed", "-1")]

    stopped = [*words, *local, "sweep.name=stopped", "optim.lr=0.01,0.02", "sweep.jobs=1", "trainer.max_epochs=50"]
    with start(limner, stopped) as process:
        wait_for(limner.folder / "sweeps/toy_vqa/stopped/0/metrics.jsonl", process)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 143
    assert left_in(limner.folder) == []


def test_slurm_by_its_script(limner, words, monkeypatch):
    """The batch script says what was asked for, and what it runs is a whole training on two processes of its own."""
    pytest.importorskip("submitit")
    slurm = ["sweep=grid", "hydra/launcher=submitit_slurm"]
    refused = limner("train", *words, *slurm, "sweep.name=none", "optim.lr=1,2", expect=2)
    (line,) = refused.stderr.splitlines()
    assert "the launcher cannot run jobs: RuntimeError" in line  # there is no srun here
    commands, kept = install(limner.folder)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    asked = ["partition=gpu", "gpus_per_node=2", "timeout_min=90", "mem_gb=16"]
    asked += ["additional_parameters={mail-type: FAIL}"]
    slurm += [f"hydra.launcher.{one}" for one in asked]
    slurm[-1] = "+" + slurm[-1]
    limner("train", *words, *slurm, "sweep.jobs=2", "trainer=ddp_cpu", "optim.lr=0.01,-1", expect=1)
    lines = kept.read_text().splitlines()
    for line in (
        "--array=0-1%2",
        "--partition=gpu",
        "--gpus-per-node=2",
        "--time=90",
        "--mem=16GB",
        "--mail-type=FAIL",
    ):
        assert f"#SBATCH {line}" in lines
    assert "#SBATCH --ntasks-per-node=1" in lines
    sweep = limner.folder / "sweeps/toy_vqa/grid"
    assert [row["state"] for row in rows(sweep)] == ["done", "failed"]
    assert [one["ranks"] for one in recorded(sweep / "0")] == [2, 2]
    assert left_in(limner.folder) == []
