"""Several feature stores as one: the same regions as reading each, whatever the order."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tiny_vqa import DIM, write_store

from limner.data.features import FeatureStore, Regions
from limner.data.features.together import Stores, open_stores
from limner.errors import UserError

TRAIN, VAL = {10: 2, 30: 4, 50: 1}, {20: 3, 40: 5, 60: 2}


@pytest.fixture
def paths(tmp_path):
    return [write_store(tmp_path / "train.h5", TRAIN), write_store(tmp_path / "val.h5", VAL)]


def alone(paths, image, **options):
    """An image's regions, read from the store that has it."""
    store = FeatureStore(paths[image not in TRAIN], **options)
    return store.read(store.positions([image]))


def test_one_path_is_a_plain_store(paths):
    assert isinstance(open_stores(paths[:1]), FeatureStore)
    assert isinstance(open_stores(paths), Stores)


def test_what_the_union_says(paths):
    store = Stores(paths)
    assert store.image_ids.tolist() == [10, 20, 30, 40, 50, 60]
    assert (len(store), store.dim, store.dtype, store.extractor) == (6, DIM, np.float16, "test")
    assert store.max_regions == 5
    assert store.counts(store.positions([40, 10, 20])).tolist() == [5, 2, 3]
    assert store.size(store.positions([40])[0]) == (140, 90)
    assert store.size(store.positions([10])[0]) == (110, 90)
    assert store.provenance == {"train.h5": {"seed": 0}, "val.h5": {"seed": 0}}
    assert store.path == f"{paths[0]}, {paths[1]}"


@pytest.mark.parametrize(
    "order",
    [[10, 30, 50], [20, 40, 60], [10, 20, 30, 40, 50, 60], [60, 10, 40, 30, 20, 50], [40, 10, 40, 40, 10], [50]],
)
@pytest.mark.parametrize("fixed", [None, 3])
@pytest.mark.parametrize("given", ["nothing", "features", "all"])
def test_regions_are_those_of_each_store(paths, order, fixed, given):
    store = Stores(paths, max_regions=fixed)
    most = fixed or max((TRAIN | VAL)[image] for image in order)
    shape = (len(order), most)
    feats = np.full((*shape, DIM), 7, np.float16)
    out = {
        "nothing": None,
        "features": feats,
        "all": Regions(feats, np.full((*shape, 4), 7, np.float32), np.ones(shape, bool)),
    }[given]
    read = store.read(store.positions(order), out)
    assert read.feats.shape == (*shape, DIM)
    if out is not None:
        assert read.feats is feats
    for row, image in enumerate(order):
        want = alone(paths, image, max_regions=fixed)
        k = int(want.mask.sum())
        assert read.mask[row].tolist() == [True] * k + [False] * (most - k)
        for mine, its in ((read.feats, want.feats), (read.boxes, want.boxes)):
            assert np.array_equal(mine[row, :k], its[0, :k])
            assert not mine[row, k:].any()


def test_no_image_at_all(paths):
    assert Stores(paths).read(np.array([], np.int64)).feats.shape == (0, 0, DIM)


def test_an_image_in_both_is_read_from_the_first(tmp_path, paths):
    both = write_store(tmp_path / "both.h5", {10: 3, 70: 1}, seed=1)
    store = Stores([*paths, both])
    assert store.image_ids.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert np.array_equal(store.read(store.positions([10])).feats, alone(paths, 10).feats)
    other = Stores([both, *paths])
    assert np.array_equal(other.read(other.positions([10])).feats, FeatureStore(both).read(np.array([0])).feats)


def test_missing_images_are_told_once(paths):
    with pytest.raises(UserError) as caught:
        Stores(paths).positions(np.array([10, 99, 7, 99, 61, 1, 2, 3, 20]))
    line = str(caught.value)
    assert "no features for 6 images (ids 1, 2, 3, 7, 61 and 1 more) in 2 files" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"dim": 5}, "dim is 5, but .*train.h5 has 6"), ({"extractor": "grid"}, "extractor is grid, but .* has test")],
)
def test_stores_that_do_not_fit_together(tmp_path, paths, changes, said):
    other = write_store(tmp_path / "other.h5", {1: 1}, **changes)
    with pytest.raises(UserError, match=rf"other\.h5: {said}"):
        Stores([*paths, other])


def test_fingerprint_follows_every_store(tmp_path, paths):
    before = Stores(paths).fingerprint
    assert before == Stores(paths).fingerprint
    for number, counts in enumerate([TRAIN, VAL]):
        other = write_store(tmp_path / f"changed{number}.h5", counts, seed=1)
        changed = [*paths]
        changed[number] = other
        assert Stores(changed).fingerprint != before


def test_files_of_one_name_keep_their_provenance(tmp_path):
    paths = [write_store(tmp_path / part / "regions.h5", {i: 1}, seed=i) for i, part in enumerate(["train", "val"])]
    assert Stores(paths).provenance == {str(paths[0]): {"seed": 0}, str(paths[1]): {"seed": 1}}


def test_asking_ahead_and_sending_to_a_worker(paths):
    store = Stores(paths)
    positions = store.positions([60, 10])
    store.will_need(positions)
    copy = pickle.loads(pickle.dumps(store))
    assert np.array_equal(copy.read(positions).feats, store.read(positions).feats)
