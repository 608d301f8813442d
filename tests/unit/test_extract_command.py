"""Extraction of a whole folder, and its command: nothing done twice, nothing lost, one clear line for each mistake."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from limner.data.features import FeatureStore
from limner.errors import UserError
from limner.extract import Regions
from limner.extract.command import compose, main
from limner.extract.components import ComponentsExtractor
from limner.extract.grid import GridExtractor
from limner.extract.run import extract, find_images, image_ids, read_image


def canvas(height=40, width=60, color=(250, 250, 245)):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = color
    return image


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(["COCO_val2014_000000000042.png", "7.jpg", "more/x_0100.png"]):
        image = canvas(40 + number, 60)
        image[5:20, 5:25] = (200, 30, 30)
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_extract_writes_a_feature_file(pictures, tmp_path):
    assert extract(pictures, tmp_path / "r.h5", ComponentsExtractor()) == 3
    store = FeatureStore(tmp_path / "r.h5")
    assert store.image_ids.tolist() == [7, 42, 100]
    assert (store.dim, store.extractor) == (ComponentsExtractor.dim, "components")
    assert store.provenance["settings"]["max_regions"] == 36
    assert tuple(store.size(store.positions([100])[0])) == (60, 42)


def test_extract_goes_on_where_it_stopped(pictures, tmp_path):
    calls = []

    class Stopping:
        name, dim = "counting", 2

        def __call__(self, image):
            calls.append(image.shape)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return Regions(np.ones((1, 2), np.float32), np.array([[0, 0, 1, 1]], np.float32))

    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "r.h5", Stopping())
    assert not (tmp_path / "r.h5").exists()
    extract(pictures, tmp_path / "r.h5", Stopping())
    assert len(calls) == 4  # 1 done, 1 stopped, then 2
    extract(pictures, tmp_path / "r.h5", Stopping())
    assert len(calls) == 4  # complete: nothing to do


def test_extract_refuses_to_mix(pictures, tmp_path):
    extract(pictures, tmp_path / "r.h5", ComponentsExtractor())
    with pytest.raises(UserError, match=r"was made with components.*grid"):
        extract(pictures, tmp_path / "r.h5", GridExtractor())
    with pytest.raises(UserError, match="max_regions"):
        extract(pictures, tmp_path / "r.h5", ComponentsExtractor(max_regions=5))
    with pytest.raises(UserError, match="holds 3 images, now asked for are 2"):
        extract(find_images(pictures)[:2], tmp_path / "r.h5", ComponentsExtractor())


def test_broken_pictures_are_named_and_the_others_kept(pictures, tmp_path):
    (pictures / "8.png").write_bytes(b"not a picture")
    (pictures / "9.jpg").write_bytes((pictures / "7.jpg").read_bytes()[:300])
    with pytest.raises(UserError, match=r"2 of 5 pictures cannot be read: .*8\.png.*9\.jpg") as error:
        extract(pictures, tmp_path / "r.h5", ComponentsExtractor())
    assert "\n" not in str(error.value)
    (pictures / "8.png").unlink()
    (pictures / "9.jpg").unlink()
    assert extract(pictures, tmp_path / "r.h5", ComponentsExtractor()) == 3


def test_ids_come_from_names(pictures, tmp_path):
    found = image_ids(find_images(pictures))
    assert {number: path.name for number, path in found.items()} == {
        42: "COCO_val2014_000000000042.png", 7: "7.jpg", 100: "x_0100.png"
    }  # fmt: skip
    (pictures / "cat.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"without an id: .*cat\.png;"):
        image_ids(find_images(pictures))
    (pictures / "cat.png").rename(pictures / "cat_007.png")
    with pytest.raises(UserError, match=r"same image id: 7 \(.*7\.jpg.*cat_007\.png\)"):
        image_ids(find_images(pictures))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture in it"):
        find_images(tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder"):
        find_images(tmp_path / "nowhere")


def test_all_kinds_of_pictures_become_rgb(tmp_path):
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        file = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (9, 5)).save(file)
        image = read_image(file)
        assert (image.shape, image.dtype) == ((5, 9, 3), np.uint8)
        assert (image == (255 if mode in ("LA", "RGBA", "CMYK") else 0)).all() or mode == "P"


# ------------------------------------------------------------------------------------------------------- command line


def test_command(pictures, tmp_path, capsys):
    out = tmp_path / "g=1, two.h5"  # characters that mean something to Hydra
    assert main([f"images={pictures}", f"out={out}", "extractor=grid", "extractor.cells=3", "progress=false"]) == 0
    assert "3 images, 16 numbers a region, extractor grid" in capsys.readouterr().out
    assert FeatureStore(out).max_regions == 10


def test_help_explains_every_key(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("images:", "out:", "progress:", "threshold:", "cells:", "whole_image:"):
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert "#" in line, name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["out=o"], "images=... must be given"),
        (["image=a", "out=o"], "did you mean 'images'"),
        (["images=a", "out=o", "extractor=gird"], "did you mean 'grid'"),
        (["images=a", "out=o", "extractor=grid", "extractor.cels=2"], "did you mean 'extractor.cells'"),
        (["images=a", "out=o", "extractor=grid", "extractor.cells=2.5"], "expected a whole number"),
        (["images=a", "out=o", "extractor=grid", "extractor.cells=-1"], "cells is -1"),
        (["images=a", "out=o", "extractor.max_regions=many"], "expected a whole number"),
        (["images=a", "out=o", "progress=maybe"], "true or false"),
        (["images=a", "out=o", "+more=1"], "no key '+more'"),
        (["images=a", "out=o", "extractor.threshold=[1"], "extract: "),
        (["images", "out=o"], "expected KEY=VALUE"),
        (["images=a", "out=o", "--config-dir", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_one_clear_line(words, says):
    with pytest.raises(UserError) as error:
        compose(words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_extractor_of_ones_own(pictures, tmp_path, monkeypatch):
    (tmp_path / "conf/extractor").mkdir(parents=True)
    (tmp_path / "conf/extractor/mean.yaml").write_text("_target_: own_extractor.Mean\nscale: 2.0\n")
    (tmp_path / "own_extractor.py").write_text(
        "import dataclasses, numpy as np\n"
        "from limner.extract import Regions\n"
        "@dataclasses.dataclass\n"
        "class Mean:\n"
        "    scale: float\n"
        "    name, dim = 'mean', 3\n"
        "    def __call__(self, image):\n"
        "        return Regions(image.mean((0, 1))[None] / 255 * self.scale, np.array([[0, 0, *image.shape[1::-1]]]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = [f"images={pictures}", f"out={tmp_path / 'm.h5'}", "extractor=mean", "extractor.scale=1"]
    assert main([*given, f"--config-dir={tmp_path / 'conf'}"]) == 0
    assert FeatureStore(tmp_path / "m.h5").extractor == "mean"


def test_script_is_the_same_command(root):
    script = root / "scripts/extract_features.py"
    done = subprocess.run(
        [sys.executable, script, "images=a", "out=b", "extractor=gird"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'grid'" in done.stderr
