"""What is wrong with a published feature file is one line and exit code 2; stopped, a conversion goes on."""

from __future__ import annotations

import base64
import errno
import os
import pickle
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

import old_features as old
from limner.cli import main
from limner.data.features import FeatureWriter, check
from limner.data.features.formats import base64_rows
from limner.data.features.formats import tsv as tsv_format
from limner.errors import UserError

FIXED = ("fga-hdf5",)


def written(name: str) -> list[old.Old]:
    return old.images((4, 4, 4) if name in FIXED else (3, 5, 2))


def run(*words: object) -> int:
    return main(["features", *map(str, words)])


def edited(line: int, column: int, change) -> object:
    """A change of one column of one line of Anderson's TSV."""

    def edit(path):
        lines = [row.split(b"\t") for row in path.read_bytes().splitlines()]
        lines[line][column] = change(lines[line][column])
        path.write_bytes(b"".join(b"\t".join(row) + b"\r\n" for row in lines))

    return edit


def with_nan(text: bytes) -> bytes:
    values = np.frombuffer(base64.b64decode(text), np.float32).copy()
    values[7] = np.nan
    return base64.b64encode(values.tobytes())


def half(text: bytes) -> bytes:
    data = base64.b64decode(text)
    return base64.b64encode(data[: len(data) // 2])


@pytest.mark.parametrize("fast", [True, False])
def test_both_decoders_of_base64(fast, monkeypatch):
    """pybase64 where it is installed, the standard library else: equal numbers, equal refusals."""
    if not fast:
        monkeypatch.setattr(base64_rows, "_fast", None)
    values = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    text = base64.b64encode(values.tobytes())
    found = base64_rows.decode("a.tsv, line 1", "features", memoryview(text), 3)
    assert np.array_equal(found, values)
    assert found.flags.writeable
    for wrong in (text[:-4], text[:-1], b"?" + text[1:], text[:8] + b"\0\0\0\0" + text[12:], b""):
        with pytest.raises(UserError, match=r"a.tsv, line 1: features (is no base64|has [\d,]+ bytes)"):
            base64_rows.decode("a.tsv, line 1", "features", wrong, 3)


BAD_ROWS = {
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 5000), "line 3: features (is no base64|has )"),
    "cut before": (lambda path: os.truncate(path, path.stat().st_size - 21861), "line 3: has 5 columns, expected 7"),
    "wrong length": (edited(1, 5, lambda text: text[:-8]), "line 2: features has .* was the file cut"),
    "no base64": (edited(1, 4, lambda text: b"?" * len(text)), "line 2: boxes (is no base64|has 0 bytes)"),
    "NaN": (edited(1, 5, with_nan), "line 2: .*features hold NaN"),
    "count": (edited(1, 3, lambda text: b"4"), "line 2: boxes has 80 bytes, expected 4 numbers of 4 bytes"),
    "no boxes": (edited(1, 3, lambda text: b"0"), "line 2: num_boxes is 0, expected a number, 1 or more"),
    "negative size": (edited(1, 1, lambda text: b"-640"), r"line 2: the image is -640 x \d+, expected its width"),
    "large size": (edited(1, 1, lambda text: b"9" * 30), r"line 2: the image is 9+\.\.\. x \d+, expected its width"),
    "id": (edited(1, 0, lambda text: b"cat"), "line 2: expected an image id, but 'cat' has no number at its end"),
    "other dim": (edited(1, 5, half), "line 2: .*features have shape \\(5, 1024\\), expected \\(regions, 2048\\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_stops_or_is_skipped(name, tmp_path, capsys):
    """One line, exit code 2, no file; what was written is kept, and --skip-bad goes on from there and tells."""
    tsv, new = old.anderson_tsv(tmp_path, written("")), tmp_path / "new.h5"
    damage, message = BAD_ROWS[name]
    damage(tsv)
    assert run("convert", tsv, "--out", new) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"limner features: {tsv}, line ")
    assert not new.exists()
    assert re.search(message, line), line
    assert "--skip-bad leaves such images out" in line
    assert run("convert", tsv, "--out", new, "--skip-bad") == 0
    out = capsys.readouterr().out
    assert "new.h5: 2 images" in out
    assert "left out: " in out
    assert check(new) == []
    assert not list(tmp_path.glob("*.partial"))


def refuses(capsys, source, message: str, *words: str) -> None:
    """One line, exit code 2, nothing left behind."""
    new = source.parent / "refused.h5"
    assert run("convert", source, "--out", new, *words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line), line
    assert not new.exists()
    shutil.rmtree(new.with_name("refused.h5.partial"), ignore_errors=True)


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_bad_lmdbs(tmp_path, capsys, monkeypatch):
    import lmdb

    monkeypatch.chdir(tmp_path)
    source = old.vilbert_lmdb(tmp_path, written(""), keys=False)
    refuses(capsys, source, r"features.lmdb: has no entry `keys`, which is written last \(found 3 other entries\)")

    def put(key: bytes, value: object) -> None:
        with lmdb.open(str(source), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
            transaction.put(key, pickle.dumps(value))

    put(b"keys", [b"9", b"42", b"581929", b"7", b"9"])
    refuses(capsys, source, "`keys` lists 4 images, there are 3")
    put(b"keys", {b"9": 1})
    refuses(capsys, source, "`keys` holds a dict, expected the list of all keys")
    put(b"keys", Command())
    refuses(capsys, source, r"features.lmdb, keys: is refused, a pickle may hold only plain .* asks for posix.system")
    put(b"keys", [b"9", b"42", b"581929"])
    put(b"42", Command())
    refuses(capsys, source, r"features.lmdb, key 42: is refused, .* asks for posix.system")
    put(b"42", {"image_id": "42", "features": "AAAA"})
    refuses(capsys, source, "key 42: lacks image_h, image_w, num_boxes, boxes")
    assert not (tmp_path / "hacked").exists()
    os.truncate(source / "data.mdb", 20 * 4096)
    refuses(capsys, source, r"features.lmdb: is cut short \(81,920 of [\d,]+ bytes\)")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    refuses(capsys, source, r"is an LMDB, which the package lmdb reads: pip install 'limner\[lmdb\]'")


def test_bad_folders_and_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = written("")
    mmf = old.mmf_folder(tmp_path, made)
    np.save(mmf / f"{made[0].coco}_info.npy", np.array(Command(), dtype=object))
    refuses(capsys, mmf, "581929_info.npy: is refused, .* asks for posix.system")
    np.save(mmf / f"{made[0].coco}_info.npy", old.mmf_info(made[0]) | {"num_boxes": 9})
    refuses(capsys, mmf, "581929.npy: num_boxes is 9, expected a number from 1 to 3")
    (mmf / f"{made[0].coco}.npy").write_bytes(b"\x93NUMPY")
    refuses(capsys, mmf, "581929.npy: is no .npy array")
    assert not (tmp_path / "hacked").exists()
    att = old.att_folder(tmp_path, made)
    (tmp_path / "cocobu_box/9.npy").unlink()
    refuses(capsys, att, "9.npy: cannot be read .No such file")
    np.savez(att / "42.npz", fc=np.zeros(3))
    refuses(capsys, att, "42.npz: has the arrays fc, expected feat or z", "--from", "att-npz")
    milvlg = old.milvlg_folder(tmp_path, made)
    np.savez(milvlg / f"{made[1].coco}.npz", x=made[1].features, bbox=made[1].boxes, image_w=5, image_h=-5)
    refuses(capsys, milvlg, "000000000009.npz: the image is 5 x -5, expected its width and height")
    m2 = old.m2_hdf5(tmp_path, made)
    with h5py.File(m2, "r+") as file:
        del file["9_boxes"]
        file["9_boxes"] = np.zeros((4, 4))
    refuses(capsys, m2, r"9_boxes: it is float64 \(4, 4\), expected numbers \(5, 4\)")
    fga = old.fga_hdf5(tmp_path, written("fga-hdf5"))
    (tmp_path / "val_ids.json").unlink()
    refuses(capsys, fga, "has no image ids; expected beside it val_ids.json: the ids of val_features in its order")
    vinvl = old.vinvl_tsv(tmp_path, made)
    os.truncate(vinvl, vinvl.stat().st_size // 3)
    refuses(capsys, vinvl, "features.tsv: is cut short, 1 of the 3 lines that features.lineidx knows lie beyond")
    (tmp_path / "features.lineidx").write_text("0\n100\n")
    refuses(capsys, vinvl, "no line begins at byte 100, as features.lineidx says")
    empty = tmp_path / "empty.tsv"
    empty.touch()
    (tmp_path / "folder").mkdir()
    refuses(capsys, tmp_path / "folder", "folder: has no images: check the path", "--from", "mmf")
    refuses(capsys, empty, r"empty.tsv: is empty \(0 bytes\)")
    refuses(capsys, tmp_path / "none.tsv", "none.tsv: no such file or folder")
    empty.write_text("a line\n")
    refuses(capsys, empty, r"is like no format known here \(hdf5, .*; --from FORMAT says which")
    refuses(capsys, empty, "empty.tsv, line 1: has 1 columns, expected 7", "--from", "anderson-tsv")
    refuses(capsys, empty, "--from anderson: no such format .known: hdf5", "--from", "anderson")
    refuses(capsys, empty, "hdf5|not an HDF5", "--from", "hdf5")


def test_repeated_and_failed_images(tmp_path, capsys):
    made = written("")
    made[2] = made[2]._replace(features=np.zeros_like(made[2].features))
    tsv = old.anderson_tsv(tmp_path, [*made, made[1]])
    assert run("convert", tsv, "--out", tmp_path / "new.h5") == 0
    out = capsys.readouterr().out
    assert "new.h5: 2 images" in out
    assert "left out 1 images whose features are all zero (ids 42)" in out
    assert f"1 images stand twice with equal features, kept once ({tsv}, line 4)" in out
    other = made[0]._replace(image_id=9, boxes=made[1].boxes, features=made[1].features + 1)
    tsv = old.anderson_tsv(tmp_path, [*made, other])
    assert run("convert", tsv, "--out", tmp_path / "b.h5") == 2
    assert "line 4: image 9 stood before, with other features" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["_checked", "close"])
def test_a_full_disk_loses_nothing(name, tmp_path, capsys, monkeypatch):
    """While images are added and at the end: one line; once there is space the same command goes on."""
    tsv, new = old.anderson_tsv(tmp_path, written("")), tmp_path / "new.h5"
    good = getattr(FeatureWriter, name)

    def full(self, *words):
        if len(self) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return good(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, name, full)
        assert run("convert", tsv, "--out", new, "--skip-bad") == 2
    wanted = f"{new}: cannot be written (No space left on device): free space there; the same command goes on"
    assert capsys.readouterr().err == f"limner features: {wanted}\n"
    assert not new.exists()
    assert (tmp_path / "new.h5.partial").is_dir()
    assert run("convert", tsv, "--out", new) == 0
    assert check(new) == []


KILLED = """
import os, signal, sys
from limner.data.features import writer
add = writer.FeatureWriter.add
def killed(self, *words, **more):
    if len(self) == 5:
        self._files["features"].write(b"half an image")
        self._files["features"].flush()
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, *words, **more)
writer.FeatureWriter.add = killed
from limner.cli import main
main(sys.argv[1:])
"""


def test_killed_it_goes_on_to_the_same_bytes(tmp_path, capsys, monkeypatch):
    """SIGKILL in the middle of an image: what was written is not decoded again, and the file is the same."""
    tsv = old.anderson_tsv(tmp_path, old.images((2, 3, 1, 2, 3, 1, 2, 3, 1)))
    words = ["features", "convert", str(tsv), "--out", str(tmp_path / "killed.h5")]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in tmp_path.glob("killed*")] == ["killed.h5.partial"]
    decoded = []

    def fields(entry, *names, **how):
        decoded.append(entry.name)
        return base64_rows.fields(entry, *names, **how)

    monkeypatch.setattr(tsv_format, "fields", fields)
    assert main(words) == 0
    assert len(decoded) == 1 + 4  # the first tells the sizes; four were missing
    assert main([*words[:-1], str(tmp_path / "whole.h5")]) == 0
    assert (tmp_path / "killed.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
