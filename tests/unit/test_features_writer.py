"""The feature writer: what it refuses, and what a killed one leaves."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from limner.data.features import FeatureStore, FeatureWriter, check
from limner.errors import UserError

DIM = 8


def image(seed: int, regions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (regions, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 40, (regions, 2))], 1).astype(np.float32)
    return rng.standard_normal((regions, DIM)).astype(np.float32), boxes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "regions.h5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, b: (f * np.nan, b), "features hold NaN"),
        (lambda f, b: (f + 1e6, b), "expected finite numbers up to 65504"),
        (lambda f, b: (f[:, :5], b), r"features have shape \(3, 5\), expected \(regions, 8\)"),
        (lambda f, b: (f[:0], b[:0]), "has no regions"),
        (lambda f, b: (f, b[:2]), r"boxes have shape \(2, 4\), expected \(3, 4\)"),
        (lambda f, b: (f, b + np.inf), "boxes hold NaN or infinity"),
    ],
)
def test_writer_refuses(path, change, message):
    with FeatureWriter(path, dim=DIM, extractor="x") as writer:
        with pytest.raises(UserError, match=f"image 5.*{message}"):
            writer.add(5, *change(*image(0)), (1, 1))
        writer.add(5, *image(0), (1, 1))
        with pytest.raises(UserError, match="image 5 is added twice"):
            writer.add(5, *image(0), (1, 1))
    assert FeatureStore(path).image_ids.tolist() == [5]


def test_writer_refuses_what_would_mix(path):
    writer = FeatureWriter(path, dim=DIM, extractor="one")
    writer.add(1, *image(1), (1, 1))
    with pytest.raises(UserError, match="another process is writing"):
        FeatureWriter(path, dim=DIM, extractor="one")
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # the block is left by an error: the part is kept
    with pytest.raises(UserError, match="begun with extractor='one', now extractor='two'"):
        FeatureWriter(path, dim=DIM, extractor="two")
    with pytest.raises(UserError, match=r"not finished, a part lies in regions\.h5\.partial"):
        FeatureStore(path)
    with FeatureWriter(path, dim=DIM, extractor="one") as writer:
        assert writer.done(1)
    with pytest.raises(UserError, match="exists already"):
        FeatureWriter(path, dim=DIM, extractor="one")


def test_writer_without_images(path):
    with pytest.raises(UserError, match="no image was added"):
        FeatureWriter(path, dim=DIM, extractor="x").close()
    assert not path.exists()


KILLED = """
import os, sys, numpy as np
from limner.data.features import FeatureWriter
writer = FeatureWriter(sys.argv[1], dim=8, extractor="x")
for i in (5, 3):
    writer.add(i, np.full((2, 8), i), np.zeros((2, 4)), (9, 9), cls_id=np.array([i, i]))
writer._files["features"].write(b"half an image")
writer._files["features"].flush()
writer._files["index"].write(b"half a record")
writer._files["index"].flush()
os._exit(9)
"""


def test_killed_writer_goes_on(path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == 9
    assert not path.exists()
    with FeatureWriter(path, dim=8, extractor="x") as writer:
        assert [writer.done(i) for i in (5, 3, 4)] == [True, True, False]
        writer.add(4, np.full((1, 8), 4), np.zeros((1, 4)), (9, 9), cls_id=np.array([4]))
    store = FeatureStore(path)
    assert store.read(np.arange(3)).feats[:, 0, 0].tolist() == [3, 4, 5]
    assert store.layout.optional["cls_id"].tolist() == [3, 3, 4, 5, 5]
    assert check(path) == []


def test_failed_add_leaves_nothing(path, monkeypatch):
    with FeatureWriter(path, dim=DIM, extractor="x") as writer:
        writer.add(1, *image(1), (100, 100))

        class Full:
            def write(self, data):
                raise OSError(28, "No space left on device")

        index = writer._files["index"]
        writer._files["index"] = Full()
        monkeypatch.setattr(Full, "closed", True, raising=False)
        with pytest.raises(OSError, match="No space"):
            writer.add(2, *image(2), (1, 1))
        writer._files["index"] = index
        assert not writer.done(2)
        writer.add(3, *image(3), (100, 100))
    assert check(path) == []
    assert np.array_equal(FeatureStore(path).read(np.array([1])).feats[0], image(3)[0].astype(np.float16))


def test_damage_in_the_part_is_found(path):
    writer = FeatureWriter(path, dim=DIM, extractor="x")
    for i in range(3):
        writer.add(i, *image(i), (1, 1))
    with (writer.partial / "features").open("r+b") as file:
        file.seek(3 * DIM * 2)  # image 1
        file.write(b"\x00\x01")
    with pytest.raises(UserError, match=r"1 images changed after they were written \(ids 1\)"):
        writer.close()
    assert not path.exists()
