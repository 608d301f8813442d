"""SIGKILL at random moments, again and again, and the end is equal to the byte to that of a run that was left alone.

`make soak` does 20 kills of each kind (LIMNER_TEST_KILLS=20); LIMNER_TEST_SEED=N repeats the moments of a failure as
well as a clock can. A moment may be anywhere: while modules are imported, at a step, while a checkpoint is written or
gets its name, in a validation, while the package is made.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from equal_runs import same, status
from small_captions import SCST, XE
from small_captions import SMALL as SMALL_CAPTIONS

from conftest import group_lives
from limner.checkpoint_files import read_checkpoint

SEED = int(os.environ.get("LIMNER_TEST_SEED", time.time()))
KILLS = int(os.environ.get("LIMNER_TEST_KILLS", "0"))
WINDOWS = (0.05, 0.3, 1.0)  # seconds of training within which a life ends
TIMEOUT = 120


class Pair:
    """`limner WORDS` on two processes, started as a user starts it."""

    def __init__(self, *words: str, cwd: Path):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LIMNER_", "PL_", "WANDB_", "SLURM_"))}
        command = [sys.executable, "-m", "limner", *words]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> subprocess.CompletedProcess:
        out, _ = self.process.communicate(timeout=TIMEOUT)
        assert not group_lives(self.pid), out
        return subprocess.CompletedProcess([], self.process.returncode, out, "")


def traces(run: Path) -> dict[str, tuple[int, int]]:
    """What changes in a run folder when a process trains there."""
    files = [path for path in run.rglob("*") if path.name not in ("status.json", "config.yaml", "versions.json")]
    return {str(path): (found.st_mtime_ns, found.st_size) for path in files if (found := stat(path))}


def state(run: Path) -> str:
    return status(run)["state"] if (run / "status.json").exists() else "nothing"


def stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # it has just got another name
        return None


def kill_soon(life, run: Path, moments: random.Random) -> str:
    """SIGKILL: at any moment of the start in one life of six, else within a window after training was first seen."""
    window = moments.choice(WINDOWS)
    at_start = moments.random() < 1 / 6
    before = traces(run)
    while not at_start and traces(run) == before and not life.ended():
        time.sleep(0.002)
    delay = moments.uniform(0, window)
    time.sleep(delay)
    if life.ended():
        return "ended before"
    os.kill(life.pid, signal.SIGKILL)
    return f"{'start' if at_start else 'training'}+{delay:.3f}s"


def survive(start, folder: Path, words: list[str], expected: Path, kills: int) -> None:
    """Trains until it has ended after so many kills; begins again when a run ends before, and compares each end."""
    moments, done, runs = random.Random(SEED), 0, 0
    while done < kills or runs == 0:
        run, history = folder / f"run{runs}", [f"LIMNER_TEST_SEED={SEED}"]
        command = ["train", *words, f"paths.run={run}", "resume=auto"]
        while True:
            life = start(*command, cwd=folder)
            if done < kills:
                history.append(kill_soon(life, run, moments))
            ended = life.wait()
            if ended.returncode == 0:
                break
            assert ended.returncode == -signal.SIGKILL, f"{history}\n{ended.stdout}\n{ended.stderr}"
            done += 1
            for checkpoint in run.glob("checkpoints/*.ckpt"):
                read_checkpoint(checkpoint)  # whole, whenever the kill came
            if state(run) == "done":  # it was about to leave
                break
        print("; ".join(history))
        assert state(run) == "done", history
        try:
            same(run, expected)
        except AssertionError as error:
            raise AssertionError(f"{history}: {error}") from error
        runs += 1


@pytest.fixture(scope="module")
def captions(tmp_path_factory, toy, forge) -> list[str]:
    """The words of an SCST run that begins with a captioner after cross-entropy."""
    folder = tmp_path_factory.mktemp("captions")
    words = [*SMALL_CAPTIONS, f"paths.data={toy.parent}"]
    forge("train", *words, *XE, f"paths.run={folder / 'xe'}", cwd=folder)
    return [*words, *SCST, f"weights={folder / 'xe'}"]


def test_vqa(forge, limner, trained):
    survive(forge.start, limner.folder, limner.small(), trained, KILLS or 7)


def test_scst(forge, limner, captions):
    expected = limner.folder / "expected"
    forge("train", *captions, f"paths.run={expected}", cwd=limner.folder)
    survive(forge.start, limner.folder, captions, expected, KILLS or 7)


def test_vqa_on_two_processes(limner, trained_by_two):
    survive(Pair, limner.folder, [*limner.small(), "trainer=ddp_cpu"], trained_by_two, KILLS or 3)


def test_scst_on_two_processes(limner, captions):
    expected, words = limner.folder / "expected", [*captions, "trainer=ddp_cpu"]
    limner("train", *words, f"paths.run={expected}")
    survive(Pair, limner.folder, words, expected, KILLS or 3)
