"""Checking, converting and the older layouts of feature files."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest

from limner.data.features import FeatureStore, FeatureWriter, check, convert
from limner.data.features.command import main
from limner.data.features.legacy import as_image_id
from limner.data.pickles import load_table
from limner.errors import UserError

N, K, DIM = 5, 3, 8
IDS = [42, 7, 581929, 9, 100]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    corner = rng.uniform(1, 50, (N, K, 2))
    boxes = np.concatenate([corner, corner + 20], 2).astype(np.float32)
    return rng.standard_normal((N, K, DIM)).astype(np.float32), boxes


def python2_pickle(table: dict[int, int]) -> bytes:
    """What cPickle of Python 2 wrote with protocol 0."""
    return ("(dp1\n" + "".join(f"I{key}\nI{row}\ns" for key, row in table.items()) + ".").encode()


@pytest.fixture
def hengyuan(tmp_path, arrays):
    features, boxes = arrays
    path = tmp_path / "train36.hdf5"
    size = np.array([640, 480, 640, 480], np.float32)
    with h5py.File(path, "w") as file:
        file["image_features"], file["image_bb"] = features, boxes
        file["spatial_features"] = np.concatenate([boxes / size, boxes[..., 2:] / size[2:]], 2).astype(np.float32)
    table = {image_id: row for row, image_id in enumerate(IDS)}
    (tmp_path / "train36_imgid2idx.pkl").write_bytes(python2_pickle(table))
    return path


def test_hengyuan_files(hengyuan, arrays):
    store = FeatureStore(hengyuan)
    assert store.image_ids.tolist() == sorted(IDS)
    assert (store.dim, store.max_regions, store.dtype) == (DIM, K, np.float32)
    wanted = [9, 581929, 42]
    feats, boxes, mask = store.read(store.positions(wanted))
    rows = [IDS.index(i) for i in wanted]
    assert np.array_equal(feats, arrays[0][rows])
    assert np.array_equal(boxes, arrays[1][rows])
    assert mask.all()
    assert store.size(0) == (640, 480)
    assert store.layout.mapping is not None
    assert len(store.fingerprint) == 32


@pytest.mark.parametrize("name", ["image_id", "image_ids"])
def test_visdial_starter_files(tmp_path, arrays, name):
    path = tmp_path / "features_faster_rcnn.h5"
    with h5py.File(path, "w") as file:
        file["features"], file[name] = arrays[0], np.array(IDS)
    store = FeatureStore(path)
    assert np.array_equal(store.read(store.positions([7])).feats[0], arrays[0][1])
    assert not store.read(np.arange(N)).boxes.any()
    assert store.size(0) == (0, 0)


def test_adaptive_hengyuan_files(tmp_path, arrays):
    path = tmp_path / "val.hdf5"
    with h5py.File(path, "w") as file:
        file["image_features"] = arrays[0].reshape(-1, DIM)
        file["image_bb"] = arrays[1].reshape(-1, 4)
        file["pos_boxes"] = np.array([[0, 4], [4, 5], [5, 15]])
    (tmp_path / "val_ids.json").write_text(json.dumps(["COCO_val2014_000000000009.jpg", "11", 3]))
    store = FeatureStore(path)
    assert store.image_ids.tolist() == [3, 9, 11]
    assert store.counts(np.arange(3)).tolist() == [10, 4, 1]
    assert np.array_equal(store.read(np.array([2])).feats[0, 0], arrays[0].reshape(-1, DIM)[4])


def test_old_file_that_is_chunked(tmp_path, arrays):
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=arrays[0].astype(np.float64), chunks=True)
        file["image_ids"] = np.array(IDS)
    with pytest.warns(UserWarning, match="limner features convert"):
        feats = FeatureStore(path).read(np.array([0, 4])).feats
    assert np.array_equal(feats, arrays[0][[1, 2]])


class Attack:
    def __reduce__(self):
        return eval, ("1/0",)


def test_pickles_run_nothing(tmp_path, hengyuan):
    table = tmp_path / "train36_imgid2idx.pkl"
    table.write_bytes(pickle.dumps({1: Attack()}, protocol=2))
    with pytest.raises(UserError, match=r"imgid2idx.pkl: is refused.*asks for builtins.eval.*JSON"):
        FeatureStore(hengyuan).image_ids  # noqa: B018
    table.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"asks for os\.system"):
        load_table(table)
    table.write_bytes(b"(dp1\nI4")
    with pytest.raises(UserError, match="cannot be read as a pickle, it is cut short"):
        load_table(table)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_pickles_load(tmp_path, protocol):
    path = tmp_path / "t.pkl"
    value = {"a": [1, 2.5, (None, True)], "s": {3}, "n": np.arange(3), "i": np.int64(7)}
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    loaded = load_table(path)
    assert loaded["n"].tolist() == [0, 1, 2]
    assert (loaded["a"], loaded["s"], loaded["i"]) == (value["a"], {3}, 7)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({1: 0, 2: 5}, r"rows outside 0..4 for ids 2.*is it the table of this file"),
        ({1: 0, "01": 1}, r"1 image ids are there twice \(1\)"),
        ({"cat": 0}, "'cat' has no number at its end"),
        ({}, "has no ids"),
    ],
)
def test_wrong_tables(hengyuan, table, message):
    hengyuan.with_name("train36_imgid2idx.pkl").unlink()
    with pytest.raises(UserError, match=r"has no image ids.*train36_imgid2idx\.pkl"):
        FeatureStore(hengyuan).image_ids  # noqa: B018
    hengyuan.with_name("train36_imgid2idx.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=message):
        FeatureStore(hengyuan).image_ids  # noqa: B018


def test_hdf5_without_features(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(UserError, match=r"has no region features \(found weights"):
        FeatureStore(tmp_path / "x.h5").image_ids  # noqa: B018


def test_image_ids_from_names():
    assert as_image_id("COCO_train2014_000000132417") == 132417
    assert as_image_id("VisualDialog_val2018_000000254080.jpg") == 254080
    assert as_image_id(np.int32(5)) == 5
    for wrong in ("cat", "9" * 26, 1 << 63):
        with pytest.raises(ValueError, match=r"no number at its end|too large for an id"):
            as_image_id(wrong)


def test_convert_keeps_everything_but_failed_images(hengyuan, tmp_path, arrays):
    with h5py.File(hengyuan, "r+") as file:
        file["image_features"][IDS.index(9)] = 0  # its extraction failed
    (problem,) = check(hengyuan)
    assert "1 of 5 images have only zero features" in problem
    done = convert(hengyuan, tmp_path / "new.h5")
    assert done == (4, [9], [], [])
    assert check(tmp_path / "new.h5") == []
    store = FeatureStore(tmp_path / "new.h5")
    assert store.image_ids.tolist() == [7, 42, 100, 581929]
    feats, boxes, _ = store.read(store.positions([42]))
    assert np.array_equal(feats[0], arrays[0][0].astype(np.float16))
    assert np.array_equal(boxes[0], arrays[1][0])
    assert store.size(0) == (640, 480)
    assert store.provenance["converted_from"] == "hdf5"


def test_convert_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "a.bin").write_text("x")
    with pytest.raises(UserError, match=r"a.bin: is like no format known here \(hdf5"):
        convert(tmp_path / "a.bin", tmp_path / "b.h5")
    with pytest.raises(UserError, match="no such file or folder of features"):
        convert(tmp_path / "none.h5", tmp_path / "b.h5")
    assert not list(tmp_path.glob("b.h5*"))


@pytest.fixture
def good(tmp_path, arrays):
    path = tmp_path / "good.h5"
    with FeatureWriter(path, dim=DIM, extractor="test") as writer:
        for i, features, boxes in zip(IDS, *arrays):
            writer.add(i, features, boxes, (100, 100))
    return path


def test_check_finds_damage(good):
    assert check(good) == []
    with h5py.File(good, "r+") as file:
        file["features"][0, 0] = np.nan  # 7
        file["features"][3] = 0  # first region of 9
        file["boxes"][6] = [5, 5, 2, 2]  # 42
        file["boxes"][9] = [0, 0, 500, 9]  # 100
        file["size"][4] = [0, 0]  # 581929
    problems = "\n".join(check(good))
    assert "1 of 5 images have features that are NaN or infinite: extract them again (ids 7)" in problems
    assert "do not match their hash, the file was damaged: copy it again (ids 7, 9)" in problems
    assert "some regions that are all zero (ids 9)" in problems
    assert "outside the image (ids 42, 100)" in problems
    assert "have no width and height (ids 581929)" in problems


def test_command_check(good, capsys):
    assert main(["check", str(good)]) == 0
    assert "good: 5 images, 15 regions of 8, every hash matches" in capsys.readouterr().out
    with h5py.File(good, "r+") as file:
        file["features"][0, 0] = 1
    assert main(["check", str(good)]) == 1
    assert "(ids 7)" in capsys.readouterr().out


def test_command_info_and_convert(hengyuan, tmp_path, capsys):
    assert main(["info", str(hengyuan)]) == 0
    out = capsys.readouterr().out
    assert "hengyuan" in out
    assert "3 an image" in out
    new = tmp_path / "new.h5"
    assert main(["convert", str(hengyuan), "--out", str(new)]) == 0
    assert "new.h5: 5 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists already"):
        main(["convert", str(hengyuan), "--out", str(new)])


def test_command_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("check", "info", "convert", "extract"))
