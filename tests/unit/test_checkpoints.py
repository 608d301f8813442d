"""Checkpoints are whole or not there, damage is noticed, the one before is kept; the best epoch is the best."""

from __future__ import annotations

import errno
import math
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from limner import checkpoint_files
from limner.checkpoint_files import WholeFiles, read_checkpoint, read_newest
from limner.checkpoints import Checkpoints
from limner.errors import UserError


def value(size: int = 3000):
    return {"state_dict": {"weight": torch.arange(float(size))}, "epoch": 3}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(value, path: Path, files: WholeFiles | None = None) -> None:
    files = files or WholeFiles()
    files.save_checkpoint(value, path)
    files.wait()


def test_round_trip(tmp_path):
    save(value(), tmp_path / "new/last.ckpt")
    read = WholeFiles().load_checkpoint(tmp_path / "new/last.ckpt")
    assert read["epoch"] == 3
    assert torch.equal(read["state_dict"]["weight"], value()["state_dict"]["weight"])
    assert names(tmp_path / "new") == ["last.ckpt"]
    WholeFiles().remove_checkpoint(tmp_path / "new/last.ckpt")
    assert names(tmp_path / "new") == []


@pytest.mark.parametrize("links", [True, False])
def test_the_best_is_the_last_and_the_one_before_is_kept(tmp_path, monkeypatch, links):
    """Written once where the file system has hard links, copied where it has none; a killed one's part is no harm."""

    def no_links(*_):
        raise PermissionError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / ".saving.part").write_bytes(b"left by a killed one")
    seen = []
    for step, name in enumerate(["last.ckpt", "best.ckpt", "last.ckpt", "last.ckpt"]):
        if step:
            (tmp_path / ".previous.ckpt.part").write_bytes(b"left by a killed one")
        save({"step": step}, tmp_path / name)
        kept = [name for name in ("last", "previous", "best") if (tmp_path / f"{name}.ckpt").exists()]
        seen.append({name: read_checkpoint(tmp_path / f"{name}.ckpt")["step"] for name in kept})
        assert names(tmp_path) == sorted(f"{name}.ckpt" for name in kept)
        if step == 1:
            assert (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt") == links
    assert seen == [
        {"last": 0},
        {"last": 1, "previous": 0, "best": 1},
        {"last": 2, "previous": 1, "best": 1},
        {"last": 3, "previous": 2, "best": 1},
    ]


def test_what_is_saved_is_what_was_when_it_was_saved(tmp_path, monkeypatch):
    """Training goes on while the disk is slow: neither waited for nor written into the file."""
    may, files, path = threading.Event(), WholeFiles(), tmp_path / "last.ckpt"
    before = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (may.wait(10), before(number)))
    weight = torch.zeros(1000)
    files.save_checkpoint({"weight": weight}, path)
    weight += 1
    assert not path.exists()
    may.set()
    files.wait()
    assert read_checkpoint(path)["weight"].sum() == 0


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("where", ["write", "sync", "end"])
def test_a_full_disk(tmp_path, monkeypatch, there, where):
    """The old file stays whole, no part of the new one is left, and the line says how to go on."""
    path, files = tmp_path / "run/checkpoints/last.ckpt", WholeFiles()
    path.parent.mkdir(parents=True)
    if there:
        save({"epoch": 2}, path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "write":
        monkeypatch.setattr(checkpoint_files.torch, "save", full)
    elif where == "sync":
        monkeypatch.setattr(os, "fsync", full)
    else:  # the last bytes were lost without a word
        whole = checkpoint_files.torch.save
        monkeypatch.setattr(
            checkpoint_files.torch, "save", lambda v, f: (whole(v, f), os.truncate(f, f.stat().st_size - 9))
        )
    with pytest.raises(UserError) as caught:
        save(value(), path, files)
    said = str(caught.value)
    assert "\n" not in said
    assert ("No space left" if where != "end" else "disk may be full") in said
    assert f"limner train resume={tmp_path / 'run'}" in said
    assert ("the one before is whole" if there else "nothing was written") in said
    assert names(path.parent) == (["last.ckpt"] if there else [])
    if there:
        assert read_checkpoint(path)["epoch"] == 2
    files.teardown()  # told once


def test_a_real_limit_of_the_file_size(tmp_path):
    """The same with the system's own limit, in a process of its own."""
    save({"epoch": 2}, tmp_path / "last.ckpt")
    program = (
        "import torch; from limner.checkpoint_files import WholeFiles\n"
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"WholeFiles().save_checkpoint({{'w': torch.zeros(10**6)}}, {str(tmp_path / 'last.ckpt')!r})\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "limner.errors.UserError" in done.stderr
    assert "the disk may be full" in done.stderr
    assert names(tmp_path) == ["last.ckpt"]
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 2


def test_an_interrupted_write_leaves_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_files.torch, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint(value(), tmp_path / "last.ckpt")
    assert names(tmp_path) == []


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises((AttributeError, TypeError)):
        WholeFiles().save_checkpoint({"a": lambda: 0}, tmp_path / "last.ckpt")
    assert names(tmp_path) == []


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "flipped": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: torch.save({"harm": print}, path),  # a function: its pickle would be called
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_noticed_and_the_one_before_read(tmp_path, capsys, kind):
    """A bit of a tensor, too, which torch.load does not notice by itself."""
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(last)
    save({"global_step": 4}, last)
    save(value(), last)
    DAMAGES[kind](last)
    with pytest.raises(UserError, match="damaged or not limner's"):
        read_checkpoint(last)
    assert read_newest(last, repair=False)["global_step"] == 4
    assert capsys.readouterr().err == ""
    assert read_newest(last, repair=True)["global_step"] == 4
    assert re.match(r"warning: .*last\.ckpt.* the one before, of step 4\n$", capsys.readouterr().err)
    assert last.samefile(previous)
    DAMAGES[kind](previous)
    with pytest.raises(UserError, match=r"last\.ckpt.*previous\.ckpt.*start the run again"):
        read_newest(last, repair=True)


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
