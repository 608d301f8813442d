"""Real runs: a toy world drawn once, and `limner` started as a user starts it, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from groups import group_lives

SCRIPT = Path(__file__).with_name("interrupted.py")
TIMEOUT = 300
SMALL = [
    "experiment=toy_vqa",
    "logger=files",
    "trainer.threads=1",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "model.embed_dim=16",
    "model.hidden=32",
    "model.classifier_hidden=32",
    "model.dropout_attention=0.2",
    "model.dropout_classifier=0.3",
    "data.min_answer_count=1",
    "data.batch_size=32",
    "callbacks.save_every_steps=4",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@dataclass
class Limner:
    """Starts `limner` in `folder`; all paths are given."""

    folder: Path
    data: Path

    def __call__(
        self, *words: str, interrupt: str | None = None, expect: int = 0, launcher: Sequence[str] = ()
    ) -> subprocess.CompletedProcess:
        """Runs `limner WORDS` and checks its exit code; nothing it started may be left.

        launcher: arguments of Python before `-m limner`, for another module that starts it.
        """
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LIMNER_", "PL_", "WANDB_", "SLURM_"))}
        environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        start = ["-m", "limner"]
        if interrupt:
            environment["LIMNER_TEST_INTERRUPT"] = interrupt
            start = [str(SCRIPT)]
        command = [sys.executable, *launcher, *start, *words]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT)
            finally:
                left = group_lives(process.pid)
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
        assert done.returncode == expect, f"exit code {done.returncode}\n{out}\n{err}"
        assert not left, f"processes were left behind\n{out}\n{err}"
        return done

    def small(self) -> list[str]:
        """The small experiment on the toy world."""
        return [*SMALL, f"paths.data={self.data.parent}"]

    def train(self, run: str, *words: str, **how) -> Path:
        """Trains the small experiment into the run folder `run`, which is returned."""
        self("train", *self.small(), f"paths.run={self.folder / run}", *words, **how)
        return self.folder / run

    def train_fails(self, run: str, *words: str) -> subprocess.CompletedProcess:
        """The same, when an error of the user's is expected."""
        return self("train", *self.small(), f"paths.run={self.folder / run}", *words, expect=2)


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    """A small toy world."""
    from limner.cli import main

    folder = tmp_path_factory.mktemp("data") / "toy"
    assert main(["data", "toy", str(folder), "--scenes", "60", "--val", "16", "--test", "16"]) == 0
    return folder


@pytest.fixture
def limner(tmp_path, toy) -> Limner:
    return Limner(tmp_path, toy)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, toy) -> Path:
    """A finished run on one process: what the others are compared to. Do not write into it."""
    return Limner(tmp_path_factory.mktemp("trained"), toy).train("run")


@pytest.fixture(scope="session")
def trained_by_two(tmp_path_factory, toy) -> Path:
    """The same on two processes."""
    return Limner(tmp_path_factory.mktemp("trained_by_two"), toy).train("run", "trainer=ddp_cpu")


@pytest.fixture(scope="session")
def forge():
    """Starts runs on one process quickly; see `forge.Forge`."""
    from forge import Forge

    with Forge() as started:
        yield started


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of 4 MB; skipped where nothing may be mounted (in containers, say)."""
    folder = tmp_path / "disk"
    folder.mkdir()

    if sys.platform != "linux":
        pytest.skip("disks of 4 MB are mounted on Linux only")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk of 4 MB can be mounted: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
