"""What may have happened to a run before it is continued: damage, another place, another clock, other data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash
from equal_runs import same, status

from conftest import SCRIPT

KILL = int(signal.SIGKILL)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory, toy, forge) -> Path:
    """A run killed at step 14: last.ckpt is of step 12, previous.ckpt of step 10, the end of the first epoch."""
    from conftest import Limner

    limner = Limner(tmp_path_factory.mktemp("killed"), toy)
    words = [*limner.small(), f"paths.run={limner.folder / 'run'}"]
    forge("train", *words, cwd=limner.folder, expect=-KILL, LIMNER_TEST_INTERRUPT=f"step:14:{KILL}")
    return limner.folder / "run"


@pytest.fixture
def moved(killed, tmp_path) -> Path:
    """The same run in another place."""
    return Path(shutil.copytree(killed, tmp_path / "elsewhere/moved"))


def test_a_moved_run_goes_on(forge, moved, trained):
    forge("train", f"resume={moved}", cwd=moved.parent)
    same(moved, trained)


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_one_before_takes_the_place_of_a_damaged_checkpoint(forge, moved, trained, kind):
    """With a warning; killed again before anything is saved, it goes on from there once more."""
    DAMAGES[kind](moved / "checkpoints/last.ckpt")
    resume = ["train", f"resume={moved}"]
    done = forge(*resume, cwd=moved.parent, expect=-KILL, LIMNER_TEST_INTERRUPT=f"step:11:{KILL}")
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert "last.ckpt" in warning
    assert "going on from the one before, of step 10" in warning
    done = forge(*resume, cwd=moved.parent)
    assert "warning" not in done.stderr
    same(moved, trained)


def test_a_damaged_best_checkpoint_is_one_line(forge, limner):
    run = limner.folder / "run"
    words = [*limner.small(), f"paths.run={run}"]
    forge("train", *words, cwd=limner.folder, expect=-KILL, LIMNER_TEST_INTERRUPT=f"test:1:{KILL}")
    best = run / "checkpoints/best.ckpt"
    assert not best.samefile(run / "checkpoints/last.ckpt")
    flip(best)
    done = forge("train", f"resume={run}", cwd=limner.folder, expect=2)
    (line,) = done.stderr.splitlines()
    assert "best.ckpt" in line
    assert "checksum" in line
    assert "trainer.max_epochs=N" in line
    assert status(run)["state"] == "failed"


@pytest.mark.parametrize("days", [-400, 400])
def test_another_clock(forge, moved, trained, days):
    """A resume in another year, and a clock that is set back an hour in the middle of it."""
    more = {"LIMNER_TEST_CLOCK": str(days * 86400), "LIMNER_TEST_INTERRUPT": "step:17:clock-3600"}
    forge("train", f"resume={moved}", "callbacks.save_every_minutes=0.001", cwd=moved.parent, **more)
    same(moved, trained)


def test_two_runs_of_one_second(limner):
    """Two processes whose clocks stand still at the same time: two folders, each with a whole run."""
    command = [sys.executable, str(SCRIPT), "train", *limner.small(), "trainer.max_epochs=1", "paths.outputs=outputs"]
    environment = {**os.environ, "LIMNER_TEST_CLOCK": "@1800000000", "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, cwd=limner.folder, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(1800000000))
    found = sorted((limner.folder / "outputs/toy_vqa").iterdir())
    assert [path.name for path in found] == [stamp, f"{stamp}-1"]
    assert [status(path)["state"] for path in found] == ["done", "done"]


def rewrite(path: Path, change) -> None:
    """Changes what JSON a file has, to something of the same length."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def one_feature(path: Path) -> None:
    """One number of one image, with the hash that belongs to it."""
    with h5py.File(path, "r+") as file:
        start, end = file["offsets"][3:5]
        rows = file["features"][start:end]
        rows[0, 0] += np.float16(1)
        file["features"][start:end] = rows
        file["row_hash"][3] = xxhash.xxh3_64_intdigest(np.ascontiguousarray(rows).data)


CHANGES = {
    "v2_OpenEnded_toy_train_questions.json": ("questions", lambda v: v["questions"][0].update(question="is it?")),
    "v2_toy_train_annotations.json": ("questions", lambda v: v["annotations"][0]["answers"][0].update(answer="yes!!")),
    "v2_toy_val_annotations.json": ("questions", lambda v: v["annotations"][0]["answers"][0].update(answer="no")),
    "regions.h5": ("features", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_data_are_noticed(forge, limner, toy, tmp_path, name):
    """Though the file has its old size and its old date, as far as it can."""
    data = Path(shutil.copytree(toy, tmp_path / "data/toy"))
    words = [*limner.small(), f"paths.data={data.parent}", "paths.run=run", "trainer.max_epochs=1"]
    forge("train", *words, cwd=tmp_path, expect=-KILL, LIMNER_TEST_INTERRUPT=f"test:1:{KILL}")
    before, (part, change) = (data / name).stat(), CHANGES[name]
    if change is None:
        one_feature(data / name)
        assert (data / name).stat().st_size == before.st_size
    else:
        rewrite(data / name, change)
    os.utime(data / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = forge("train", "resume=run", cwd=tmp_path, expect=2)
    assert "the data changed since the run stopped" in done.stderr
    assert part in done.stderr
