"""The feature store and its writer: what goes in comes out, and what is wrong is said in one line."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xxhash

from limner.data.features import FeatureStore, FeatureWriter, Regions, check
from limner.errors import UserError

DIM = 8


def image(seed: int, regions: int = 3, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (regions, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 40, (regions, 2))], 1).astype(np.float32)
    return rng.standard_normal((regions, dim)).astype(np.float32), boxes


def write(path, counts: dict[int, int], **options) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Images in the given order, each with so many regions."""
    made = {i: image(i, k) for i, k in counts.items()}
    with FeatureWriter(path, dim=DIM, extractor="test", **options) as writer:
        for i, (features, boxes) in made.items():
            writer.add(i, features, boxes, (100 + i % 1000, 100))
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "regions.h5"


@pytest.fixture
def made(path):
    return write(path, {30: 2, 7: 5, 12: 1, 900000000000: 3}, provenance={"weights": "abc"})


def test_what_is_written_is_read(path, made):
    store = FeatureStore(path)
    assert store.image_ids.tolist() == [7, 12, 30, 900000000000]
    assert (len(store), store.dim, store.max_regions, store.extractor) == (4, DIM, 5, "test")
    assert store.provenance == {"weights": "abc"}
    order = [30, 12, 7, 30]
    feats, boxes, mask = store.read(store.positions(order))
    assert feats.shape == (4, 5, DIM)
    assert feats.dtype == np.float16
    for row, i in enumerate(order):
        k = len(made[i][0])
        assert mask[row].tolist() == [True] * k + [False] * (5 - k)
        assert np.array_equal(feats[row, :k], made[i][0].astype(np.float16))
        assert np.array_equal(boxes[row, :k], made[i][1])
        assert not feats[row, k:].any()
        assert not boxes[row, k:].any()
    assert store.size(store.positions([12])[0]) == (112, 100)
    assert store.read(store.positions([12, 30])).feats.shape == (2, 2, DIM)  # padded to the batch, not to the store


def test_layout_on_disk(path, made):
    with h5py.File(path) as file:
        assert file["features"].dtype == "<f2"
        assert file["offsets"][:].tolist() == [0, 5, 6, 8, 11]
        assert file["row_hash"][1] == xxhash.xxh3_64_intdigest(made[12][0].astype("<f2").tobytes())
        assert file.attrs["complete"]
        assert file.attrs["schema"] == 1
    assert not path.with_name("regions.h5.partial").exists()


def test_features_begin_on_a_page(path):
    with FeatureWriter(path, dim=512, extractor="x") as writer:
        writer.add(1, *image(1, 40, 512), (100, 100))
    with h5py.File(path) as file:
        assert file["features"].id.get_offset() % 4096 == 0


def test_max_regions_cuts_and_pads(path, made):
    store = FeatureStore(path, max_regions=4)
    feats, _, mask = store.read(store.positions([7, 12]))
    assert feats.shape == (2, 4, DIM)
    assert mask.sum(1).tolist() == [4, 1]
    assert np.array_equal(feats[0], made[7][0][:4].astype(np.float16))
    assert FeatureStore(path, max_regions=40).max_regions == 40


def test_read_into_given_memory(path, made):
    store = FeatureStore(path)
    out = Regions(np.full((2, 6, DIM), 9, np.float16), np.full((2, 6, 4), 9, np.float32), np.ones((2, 6), bool))
    back = store.read(store.positions([30, 12]), out)
    assert back.feats is out.feats
    assert out.mask.sum(1).tolist() == [2, 1]
    assert not out.feats[~out.mask].any()
    assert not out.boxes[~out.mask].any()
    with pytest.raises(ValueError, match="expected float16"):
        store.read(store.positions([7]), np.empty((1, 3, DIM), np.float16))
    with pytest.raises(IndexError):
        store.read(np.array([-1]))


def test_bits_are_kept(path):
    """Subnormal numbers and minus zero too: rows are copied by an arithmetic loop."""
    odd = np.array([[5.96e-8, -0.0, 65504, -6e-5]], np.float16)
    with FeatureWriter(path, dim=4, extractor="x") as writer:
        writer.add(1, odd, np.zeros((1, 4)), (1, 1))
    assert FeatureStore(path).read(np.array([0])).feats.tobytes() == odd.tobytes()


def test_optional_arrays(path):
    features, boxes = image(1)
    with FeatureWriter(path, dim=DIM, extractor="x") as writer:
        writer.add(4, features, boxes, (1, 1), cls_id=np.array([5, 6, 7]), cls_prob=np.array([0.5, 0.25, 1]))
        with pytest.raises(UserError, match="expected cls_id, cls_prob"):
            writer.add(5, features, boxes, (1, 1), cls_id=np.zeros(3))
        writer.add(3, features, boxes, (1, 1), cls_id=np.array([8, 9, 10]), cls_prob=np.zeros(3))
    optional = FeatureStore(path).layout.optional
    assert optional["cls_id"].tolist() == [8, 9, 10, 5, 6, 7]
    assert optional["cls_prob"].dtype == np.float16


def test_missing_ids_are_listed(path, made):
    with pytest.raises(UserError, match=r"regions.h5: no features for 7 of 8 images \(ids 1, 2, 3, 4, 5 and 2 more\)"):
        FeatureStore(path).positions([6, 5, 4, 3, 2, 1, 10**15, 7])


def test_will_need_is_harmless(path, made):
    store = FeatureStore(path)
    store.will_need(np.array([3, 0]))
    store.will_need(np.array([], int))
    assert store.read(np.array([0])).mask.sum() == 5


def test_will_need_asks_once_until_a_read_had_to_wait(path, made, monkeypatch):
    store = FeatureStore(path)
    asked: list[tuple[int, int]] = []
    mapping = SimpleNamespace(madvise=lambda advice, start, length: asked.append((start, length)))
    store.__dict__["layout"] = store.layout._replace(mapping=mapping)
    resource = pytest.importorskip("resource")
    waits = SimpleNamespace(ru_majflt=5)
    monkeypatch.setattr(resource, "getrusage", lambda who: waits)
    offset, row = store.layout.offset, DIM * 2
    store.will_need(np.array([0, 2]))
    assert all(start % 4096 == 0 for start, _ in asked)
    assert [start + length for start, length in asked] == [offset + 5 * row, offset + 8 * row]
    store.will_need(np.array([2, 3]))
    assert len(asked) == 3
    waits.ru_majflt = 6
    store.will_need(np.array([2, 3]))
    assert len(asked) == 5


def test_fingerprint_follows_ids_and_features(tmp_path):
    write(tmp_path / "a.h5", {1: 2, 2: 2})
    write(tmp_path / "b.h5", {2: 2, 1: 2})  # another order of writing
    write(tmp_path / "c.h5", {1: 2, 3: 2})
    a, b, c = (FeatureStore(tmp_path / f"{name}.h5").fingerprint for name in "abc")
    assert a == b != c
    assert len(a) == 32


def _read_elsewhere(store, ids, queue):
    queue.put(store.read(store.positions(ids)).feats)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_processes(path, made, method):
    store = FeatureStore(path)
    here = store.read(store.positions([7, 30])).feats  # opened before it is sent
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_read_elsewhere, args=(store, [7, 30], queue))
    process.start()
    there = queue.get(timeout=60)
    process.join()
    assert np.array_equal(here, there)


def test_pickle_holds_no_handle(path, made):
    store = FeatureStore(path, max_regions=2)
    assert len(store.image_ids) == 4
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert pickle.loads(data).read(np.array([0])).feats.shape == (1, 2, DIM)


def break_file(path, kind: str) -> None:
    if kind == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    elif kind == "header only":
        os.truncate(path, 500)
    elif kind == "text":
        path.write_text("not features")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        with h5py.File(path, "r+") as file:
            if kind == "incomplete":
                del file.attrs["complete"]
            elif kind == "lacks boxes":
                del file["boxes"]
            elif kind == "unsorted":
                file["image_id"][:] = file["image_id"][:][::-1]
            elif kind == "duplicate":
                file["image_id"][1] = file["image_id"][0]
            elif kind == "schema":
                file.attrs["schema"] = 9
            elif kind == "offsets":
                file["offsets"][2] = file["offsets"][1]
            elif kind == "boxes":
                del file["boxes"]
                file["boxes"] = np.zeros((4, 4), np.float32)
            elif kind == "integers":
                del file["features"]
                file["features"] = np.zeros((11, DIM), np.int32)
            elif kind == "never written":
                del file["features"]
                file.create_dataset("features", (11, DIM), "f2")


BROKEN = {
    "truncated": "is cut short",
    "header only": "regions.h5: ",
    "text": "is not an HDF5 file",
    "empty": "is empty",
    "missing": "no such feature file: make it with `limner features extract` .scripts/extract_features.py",
    "folder": "is a folder",
    "incomplete": "is not complete",
    "lacks boxes": "lacks boxes",
    "unsorted": "not sorted",
    "duplicate": "duplicates .at ids 7",
    "schema": "has schema 9, this version of limner reads schema 1",
    "offsets": "does not divide",
    "boxes": r"/boxes has shape \(4, 4\), expected \(11, 4\)",
    "integers": "is int32",
    "never written": "was never written",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(path, made, kind):
    break_file(path, kind)
    with pytest.raises(UserError, match=BROKEN[kind]) as caught:
        FeatureStore(path).image_ids  # noqa: B018
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert check(path) == [str(caught.value)]


def test_chunked_file_is_read_and_warned_of(path, made):
    plain = FeatureStore(path)
    expected = plain.read(np.arange(4))
    with h5py.File(path, "r+") as file:
        values = file["features"][:]
        del file["features"]
        file.create_dataset("features", data=values, chunks=(2, DIM))
    store = FeatureStore(path)
    with pytest.warns(UserWarning, match="limner features convert .*regions.h5 --out"):
        found = store.read(np.arange(4))
    assert np.array_equal(found.feats, expected.feats)
    assert store.row_hash(2) == plain.row_hash(2)
    with pytest.warns(UserWarning, match="chunked"):
        (problem,) = check(path)
    assert "reads slowly" in problem


def test_provenance_is_json(path, made):
    with h5py.File(path) as file:
        assert json.loads(file.attrs["provenance"]) == {"weights": "abc"}
