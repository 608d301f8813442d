"""The toy world: a seed decides everything, splits share no scene, pictures are clean, a folder appears whole."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from limner.data.features import FeatureStore
from limner.data.toy import build as building
from limner.data.toy.build import build, main
from limner.data.toy.render import GROUND, mask, render
from limner.data.toy.world import COLORS, GAP, HEIGHT, SHAPES, SPLITS, WIDTH, scenes, split_of
from limner.errors import UserError
from limner.extract.components import ComponentsExtractor
from limner.extract.run import extract

SMALL = {"train": 5, "val": 3, "test": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("toy") / "world", **SMALL, seed=3)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(world, tmp_path):
    again = build(tmp_path / "again", **SMALL, seed=3)
    other = build(tmp_path / "other", **SMALL, seed=4)
    first, second, third = digests(world), digests(again), digests(other)
    assert first == second
    assert first.keys() == third.keys()
    assert not [name for name in first if first[name] == third[name]]  # no file forgets the seed


def test_more_scenes_continue_the_list():
    assert list(scenes("val", 20, seed=2)) == list(scenes("val", 60, seed=2))[:20]


def test_splits_share_no_scene_and_no_id():
    shown = {split: list(scenes(split, 200, seed=1)) for split in SPLITS}
    contents = {split: {scene.contents for scene in shown[split]} for split in SPLITS}
    assert all(len(contents[split]) == 200 for split in SPLITS)  # nor does a split repeat one
    assert not contents["train"] & contents["val"]
    assert not contents["train"] & contents["test"]
    assert not contents["val"] & contents["test"]
    assert all(split_of(content) == split for split in SPLITS for content in contents[split])
    ids = [scene.image_id for split in SPLITS for scene in shown[split]]
    assert len(set(ids)) == len(ids) == 600


def test_scenes_use_the_whole_world_and_nothing_touches():
    shown = list(scenes("train", 200))
    things = [thing for scene in shown for thing in scene.things]
    assert {len(scene.things) for scene in shown} == set(range(3, 9))
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.color for thing in things} == set(COLORS)
    assert {thing.size for thing in things} == {"small", "big"}
    for scene in shown:
        for number, a in enumerate(scene.things):
            assert min(a.box) >= 0
            assert a.box[2] <= WIDTH
            assert a.box[3] <= HEIGHT
            for b in scene.things[number + 1 :]:
                apart = max(a.box[0] - b.box[2], b.box[0] - a.box[2], a.box[1] - b.box[3], b.box[1] - a.box[3])
                assert apart >= GAP


def test_pictures_show_each_thing_in_its_colour_and_only_there():
    for scene in scenes("test", 20):
        image = render(scene).astype(int)
        clear = np.ones((HEIGHT, WIDTH), bool)
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            clear[y1:y2, x1:x2] = False
            inside = mask(thing.shape, thing.radius) == 1
            color = np.clip(np.array(COLORS[thing.color]) + thing.shade, 0, 255)
            assert inside.any()
            assert (image[y1:y2, x1:x2][inside] == color).all()
        assert (image[clear] == GROUND).all()


def test_edges_are_smooth():
    for shape in SHAPES:
        covered = mask(shape, 16)
        assert ((covered > 0.1) & (covered < 0.9)).any() or shape == "square"
        assert 0.3 < covered.mean() < 0.95


def test_folder_holds_what_the_manifest_says(world):
    manifest = json.loads((world / "manifest.json").read_text())
    assert {split: held["images"] for split, held in manifest["holds"].items()} == SMALL
    assert all((world / name).is_file() for name in manifest["files"])
    for split, count in SMALL.items():
        pictures = sorted((world / "images" / split).glob(f"toy_{split}_*.png"))
        assert len(pictures) == count
        assert Image.open(pictures[0]).size == (WIDTH, HEIGHT)
    assert not list(world.parent.glob("*.partial*"))


def test_features_are_those_of_the_pictures(world, tmp_path):
    assert extract(world / "images", tmp_path / "again.h5", ComponentsExtractor()) == 11
    stored, again = FeatureStore(world / "regions.h5"), FeatureStore(tmp_path / "again.h5")
    assert stored.fingerprint == again.fingerprint
    assert FeatureStore(world / "grid.h5").image_ids.tolist() == stored.image_ids.tolist()


def test_a_world_that_is_there_is_left_alone(world):
    before = (world / "regions.h5").stat().st_mtime_ns
    assert build(world, **SMALL, seed=3) == world
    assert (world / "regions.h5").stat().st_mtime_ns == before


def test_another_world_is_kept_unless_told(tmp_path):
    folder = build(tmp_path / "w", train=2, val=1, test=1, seed=1)
    with pytest.raises(UserError, match=r"train 2 instead of 3.*--replace"):
        build(folder, train=3, val=1, test=1, seed=1)
    assert len(list((folder / "images/train").iterdir())) == 2
    build(folder, train=3, val=1, test=1, seed=1, replace=True)
    assert len(list((folder / "images/train").iterdir())) == 3


def test_a_damaged_world_is_noticed(tmp_path):
    folder = build(tmp_path / "w", train=2, val=1, test=1)
    (folder / "grid.h5").unlink()
    with pytest.raises(UserError, match=r"grid\.h5"):
        build(folder, train=2, val=1, test=1)
    build(folder, train=2, val=1, test=1, replace=True)
    assert (folder / "grid.h5").is_file()


def test_other_peoples_files_are_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for replace in (False, True):
        with pytest.raises(UserError, match="not a toy world"):
            build(tmp_path, train=2, val=1, test=1, replace=replace)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_stopped_build_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(building.captions, "caption_file", stop)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "w", train=2, val=1, test=1)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_build_left_is_cleared(tmp_path):
    dead, living = tmp_path / ".w.999999999.partial", tmp_path / ".w.1.partial"
    dead.mkdir()
    living.mkdir()
    build(tmp_path / "w", train=2, val=1, test=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, "w"]


def test_command_line(tmp_path, capsys):
    assert main([str(tmp_path / "w"), "--scenes", "2", "--val", "1", "--test", "1", "--seed", "5"]) == 0
    assert "train 2 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="val is 0 scenes"):
        main([str(tmp_path / "v"), "--val", "0"])
