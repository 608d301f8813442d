"""A disk that fills up or takes no more writes: what was there stays whole, the exit code and the line tell, and once
there is room again the run goes on to the same bytes."""

from __future__ import annotations

import signal
import subprocess

import pytest
from equal_runs import same, status

from limner.checkpoint_files import read_checkpoint
from limner.run import RunFolder

TERM = int(signal.SIGTERM)
FULL = "No space left on device"


def in_one_line(text: str, *words: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("limner train:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    assert [word for word in words if word not in lines[0]] == []


@pytest.mark.parametrize(
    ("point", "step", "state", "words"),
    [
        ("step:6:full-100000", 4, "failed", ["last.ckpt", "the one before is whole", "limner train resume="]),
        (f"step:6:full-100000+{TERM}", 4, "failed", ["last.ckpt", "the one before is whole", "limner train resume="]),
        ("step:6:full-0", 4, "died", ["the one before is whole"]),  # there is no room for status.json
        ("package:1:full-20000", 30, "failed", ["package", FULL]),
        ("rows:1:full-6000", 30, "failed", ["rows.jsonl.gz", FULL]),
    ],
)
def test_full(forge, limner, trained, small_disk, point, step, state, words):
    run = small_disk / "run"
    begin = [*limner.small(), f"paths.run={run}"]
    done = forge("train", *begin, cwd=limner.folder, expect=2, LIMNER_TEST_INTERRUPT=point)
    in_one_line(done.stderr, "free space", *words)
    assert RunFolder(run).state() == state
    if state == "failed":
        assert status(run)["exit_code"] == 2
        assert status(run)["reason"] in done.stderr
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == step
    assert not list(run.rglob("*.part"))
    assert not (run / "result.json").exists()
    (small_disk / "ballast").unlink()
    forge("train", f"resume={run}", cwd=limner.folder)
    same(run, trained)


def test_full_at_a_line(forge, limner, small_disk):
    """Half a line may be there: a resume takes it back, and all lines are those of a run that was left alone."""
    run, expected = small_disk / "run", limner.folder / "expected"
    words = [*limner.small(), "data.batch_size=8", "trainer.max_epochs=2", "callbacks.save_every_steps=null"]
    forge("train", *words, f"paths.run={expected}", cwd=limner.folder)
    begin = [*words, f"paths.run={run}"]
    done = forge("train", *begin, cwd=limner.folder, expect=2, LIMNER_TEST_INTERRUPT="step:39:full-0")
    in_one_line(done.stderr, ".jsonl", FULL, f"limner train resume={run}")
    (small_disk / "ballast").unlink()
    forge("train", f"resume={run}", cwd=limner.folder)
    same(run, expected)


def test_full_on_two_processes(limner, trained_by_two, small_disk):
    """Nothing hangs, no process is left."""
    run = small_disk / "run"
    begin = [*limner.small(), f"paths.run={run}", "trainer=ddp_cpu"]
    done = limner("train", *begin, interrupt="step:6:full-100000", expect=2)
    in_one_line(done.stderr, "last.ckpt", f"limner train resume={run}")
    assert status(run)["state"] == "failed"
    (small_disk / "ballast").unlink()
    limner("train", f"resume={run}")
    same(run, trained_by_two)


def test_read_only(forge, limner, trained, small_disk):
    """From the start, or from the sixth step on: root may write anything but this."""
    run = small_disk / "run"
    begin = [*limner.small(), f"paths.run={run}"]
    done = forge("train", *begin, cwd=limner.folder, expect=2, LIMNER_TEST_INTERRUPT="step:6:read-only")
    in_one_line(done.stderr, "Read-only file system")
    assert RunFolder(run).state() == "died"
    outputs = [*limner.small(), f"paths.outputs={small_disk}"]
    done = forge("train", *outputs, cwd=limner.folder, expect=2)
    in_one_line(done.stderr, "Read-only file system", "paths.outputs=DIR")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    forge("train", f"resume={run}", cwd=limner.folder)
    same(run, trained)
