"""Checkpoints are written whole or not at all, and the best epoch is judged as one would."""

from __future__ import annotations

import errno
import io
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from limner import checkpoints
from limner.checkpoints import Checkpoints, WholeFiles, read_checkpoint
from limner.errors import UserError


class FullDisk(io.FileIO):
    """A file on a disk with room for 1,000 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def value(size: int = 3000):
    return {"state_dict": {"weight": torch.arange(float(size))}, "epoch": 3}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path):
    WholeFiles().save_checkpoint(value(), tmp_path / "new/last.ckpt")
    read = WholeFiles().load_checkpoint(tmp_path / "new/last.ckpt")
    assert read["epoch"] == 3
    assert torch.equal(read["state_dict"]["weight"], value()["state_dict"]["weight"])
    assert names(tmp_path / "new") == ["last.ckpt"]
    WholeFiles().remove_checkpoint(tmp_path / "new/last.ckpt")
    assert names(tmp_path / "new") == []


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk(tmp_path, monkeypatch, there):
    """The old file stays whole, no part of the new one is left, and the line says how to go on."""
    path = tmp_path / "run/checkpoints/last.ckpt"
    path.parent.mkdir(parents=True)
    if there:
        WholeFiles().save_checkpoint({"epoch": 2}, path)
    monkeypatch.setattr(checkpoints, "open", lambda name, mode: FullDisk(name, "w"), raising=False)
    with pytest.raises(UserError) as caught:
        WholeFiles().save_checkpoint(value(), path)
    said = str(caught.value)
    assert "\n" not in said
    assert f"limner train resume={tmp_path / 'run'}" in said
    assert ("the one before is whole" if there else "nothing was written") in said
    assert names(path.parent) == (["last.ckpt"] if there else [])
    if there:
        assert read_checkpoint(path)["epoch"] == 2


def test_a_real_limit_of_the_file_size(tmp_path):
    """The same with the system's own limit, in a process of its own."""
    WholeFiles().save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    program = (
        "import torch; from limner.checkpoints import WholeFiles\n"
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"WholeFiles().save_checkpoint({{'w': torch.zeros(10**6)}}, {str(tmp_path / 'last.ckpt')!r})"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "limner.errors.UserError" in done.stderr
    assert "File too large" in done.stderr
    assert names(tmp_path) == ["last.ckpt"]
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 2


def test_an_interrupted_write_leaves_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.torch, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint(value(), tmp_path / "last.ckpt")
    assert names(tmp_path) == []


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises((AttributeError, TypeError)):
        WholeFiles().save_checkpoint({"a": lambda: 0}, tmp_path / "last.ckpt")
    assert names(tmp_path) == []


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)
    WholeFiles().save_checkpoint(value(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)
    torch.save({"harm": print}, path)  # a function: its pickle would be called
    with pytest.raises(UserError, match="damaged or not limner's"):
        read_checkpoint(path)


def test_judging(tmp_path):
    """The first of equal values is best, NaN never is, and a worse one is waited for."""
    keep = Checkpoints(tmp_path, monitor="val/score", mode="max", patience=2)
    assert [keep.judge(v, epoch) for epoch, v in enumerate([math.nan, 1.0, 1.0, 0.5])] == [False, True, False, False]
    assert (keep.best, keep.best_epoch, keep.waited) == (1.0, 1, 2)
    again = Checkpoints(tmp_path, monitor="val/score", mode="max")
    again.load_state_dict(keep.state_dict())
    assert again.judge(2.0, 4)
    assert (again.best, again.best_epoch, again.waited) == (2.0, 4, 0)
    low = Checkpoints(tmp_path, monitor="val/loss", mode="min")
    assert [low.judge(v, 0) for v in (3.0, 4.0, 2.0)] == [True, False, True]


def test_an_unknown_metric(tmp_path):
    module = type("Module", (), {"scores": {"score": 1.0}})
    assert Checkpoints(tmp_path, monitor="val/score", mode="max").value(module) == 1.0
    with pytest.raises(UserError, match="there are val/score"):
        Checkpoints(tmp_path, monitor="val/loss", mode="min").value(module)
