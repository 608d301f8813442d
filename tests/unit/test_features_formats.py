"""Every published format comes in through the command line, exact to float16."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

import old_features as old
from limner.cli import main
from limner.data.features import FeatureStore, FeatureWriter, check
from limner.data.features.formats import FORMATS
from limner.data.features.progress import time_left
from limner.data.features.together import open_stores

FIXED = ("hdf5 hengyuan", "hdf5 starter", "fga-hdf5")  # all images have as many regions
NO_SIZE = ("hdf5 starter", "att-npz", "m2-hdf5", "fga-hdf5")
PROBS = ("vilbert-lmdb", "mmf", "mmf-lmdb", "m2-hdf5")
CLASSES = ("lxmert-tsv", "mmf", "mmf-lmdb", "hdf5 starter")


def written(name: str) -> list[old.Old]:
    return old.images((4, 4, 4) if name in FIXED else (3, 5, 2))


def run(*words: object) -> int:
    return main(["features", *map(str, words)])


@pytest.mark.parametrize("name", old.WRITERS)
def test_converts(name, tmp_path, capsys):
    """The format is found, features are exact to float16, boxes, sizes, classes and probabilities come along."""
    made, new = written(name), tmp_path / "new.h5"
    source = old.WRITERS[name](tmp_path, made)
    assert run("info", source) == 0
    assert f"layout       {name.split()[0]}: " in capsys.readouterr().out or name in FIXED
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("convert", source, "--out", new) == 0
    assert capsys.readouterr().out == f"{new}: 3 images\n"
    unknown = [f"{new}: 3 of 3 images have no width and height (ids 9, 42, 581929)"]
    assert check(new) == ([] if name not in NO_SIZE else unknown)
    store = FeatureStore(new)
    assert store.image_ids.tolist() == [9, 42, 581929]
    assert store.provenance["converted_from"] == name.split()[0]
    assert store.provenance["source"] == source.name
    for one in made:
        place = store.positions(np.array([one.image_id]))
        feats, boxes, mask = store.read(place)
        assert np.array_equal(feats[0], one.features.astype(np.float16))
        assert mask.all()
        fractions = np.array([*one.size, *one.size], np.float32) if name == "vinvl-tsv" else np.float32(1)
        expected_boxes = np.zeros_like(one.boxes) if name == "fga-hdf5" else one.boxes
        np.testing.assert_allclose(boxes[0] * fractions, expected_boxes, rtol=2e-7 if "vinvl" in name else 0)
        expected = dict.fromkeys(NO_SIZE, (0, 0)) | {"vinvl-tsv": (1, 1)}
        assert store.size(int(place[0])) == expected.get(name, one.size)
        rows = slice(int(store.layout.starts[place[0]]), int(store.layout.starts[place[0]]) + len(one.boxes))
        if name in PROBS:
            assert np.array_equal(store.layout.optional["class_probs"][rows], one.probs.astype(np.float16))
        if name in CLASSES:
            assert store.layout.optional["cls_id"][rows].tolist() == one.cls_id.tolist()
        if name in ("lxmert-tsv", "hdf5 starter"):
            assert np.array_equal(store.layout.optional["cls_prob"][rows], one.cls_prob.astype(np.float16))
        if name == "lxmert-tsv":
            assert store.layout.optional["attr_id"][rows].tolist() == one.attr_id.tolist()
            assert np.array_equal(store.layout.optional["attr_prob"][rows], one.attr_prob.astype(np.float16))
    if name == "hdf5 starter":
        assert store.provenance["split"] == "train"


def test_every_format_has_a_writer():
    assert {one.name for one in FORMATS} == {name.split()[0] for name in old.WRITERS}


@pytest.mark.parametrize("name", [name for name in old.WRITERS if not name.startswith("hdf5")])
def test_check_says_what_an_old_file_is(name, tmp_path, capsys):
    source = old.WRITERS[name](tmp_path, written(name))
    assert run("check", source) == 1
    assert f"{source}: is a" in (out := capsys.readouterr().out)
    assert "which training does not read; `limner features convert" in out


def test_variants(tmp_path, capsys):
    """A column of classes behind Anderson's, bytes as Python 3 shows them, a VinVL folder, no boxes; --drop."""
    made = written("")
    tsv = old.anderson_tsv(tmp_path, made)
    lines = [line.split(b"\t") for line in tsv.read_bytes().split(b"\r\n") if line]
    for line, one in zip(lines, made):
        line.append(old.b64(one.probs).encode())
        line[5] = b"b'" + line[5] + b"'"
    tsv.write_bytes(b"\n".join(map(b"\t".join, lines)))  # and no end of the last line
    assert run("convert", tsv, "--out", tmp_path / "a.h5", "--extractor", "vilbert") == 0
    store = FeatureStore(tmp_path / "a.h5")
    assert (store.classes, store.extractor) == (old.CLASSES, "vilbert")
    assert np.array_equal(store.read(np.array([0])).feats[0], made[1].features.astype(np.float16))
    assert run("convert", tsv, "--out", tmp_path / "b.h5", "--drop", "class_probs") == 0
    assert FeatureStore(tmp_path / "b.h5").classes == 0
    (tmp_path / "vinvl").mkdir()
    old.vinvl_tsv(tmp_path / "vinvl", made)
    assert run("convert", tmp_path / "vinvl", "--out", tmp_path / "c.h5") == 0
    att = old.att_folder(tmp_path, made)
    for file in (tmp_path / "cocobu_box").iterdir():
        file.unlink()
    (tmp_path / "cocobu_box").rmdir()
    for one in made:
        np.savez(att / f"{one.image_id}.npz", z=one.features)
    assert run("convert", tmp_path / "cocobu", "--out", tmp_path / "d.h5") == 0
    assert FeatureStore(tmp_path / "d.h5").provenance["boxes"] == "none in the source, all zero"
    assert run("convert", old.vilbert_lmdb(tmp_path, made) / "data.mdb", "--out", tmp_path / "e.h5") == 0


def test_what_was_trained_on_is_the_same_after_a_detour(tmp_path):
    """A store written as a TSV and converted back has the same fingerprint: training sees no difference."""
    made = old.images((2, 3, 4), dim=6)
    with FeatureWriter(tmp_path / "first.h5", dim=6, extractor="bottom-up attention") as writer:
        for one in made:
            writer.add(one.image_id, one.features, one.boxes, one.size)
    assert run("convert", old.anderson_tsv(tmp_path, made[::-1]), "--out", tmp_path / "again.h5") == 0
    first, again = FeatureStore(tmp_path / "first.h5"), FeatureStore(tmp_path / "again.h5")
    assert first.fingerprint == again.fingerprint
    assert np.array_equal(first.layout.boxes, again.layout.boxes)
    assert np.array_equal(first.layout.sizes, again.layout.sizes)
    assert open_stores([first.path, again.path]).dim == 6


class Terminal(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_time_left(terminal):
    """By the speed of the last minute: what an earlier call had written is passed over a hundred times faster."""
    clock, stream = [0.0], Terminal(terminal)
    show = time_left("converted", now=lambda: clock[0], stream=stream)
    for second in range(1, 301):
        clock[0] = float(second)
        reached = 100_000 * min(second, 10) + 1000 * max(0, second - 10)
        show(second, reached, 2_000_000)
    lines = stream.getvalue().replace("\r", "\n").split("\n")
    assert lines[-1 if terminal else -2].strip() == "converted 300 images, 64 %, about 12 min left"
    assert len([line for line in lines if line]) == (300 if terminal else 5)
    show(301, 2_000_000, 2_000_000)
    assert ("100 %" in stream.getvalue()) == terminal
