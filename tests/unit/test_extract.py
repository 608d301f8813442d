"""Weight-free extractors: the right regions, and numbers that mean what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from limner.data.toy.render import mask, render
from limner.data.toy.world import COLORS, SHAPES, scenes
from limner.errors import UserError
from limner.extract import Regions, components, grid
from limner.extract.components import ComponentsExtractor
from limner.extract.grid import GridExtractor
from limner.extract.labelling import Pixels, background


def canvas(height=40, width=60, color=(250, 250, 245)):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = color
    return image


def flood(foreground):
    """Components by search, 8-connected: the slow way."""
    seen, found = np.zeros_like(foreground), []
    for start in zip(*np.nonzero(foreground)):
        if seen[start]:
            continue
        stack, part = [start], set()
        seen[start] = True
        while stack:
            y, x = stack.pop()
            part.add((y, x))
            for dy, dx in itertools.product((-1, 0, 1), repeat=2):
                near = y + dy, x + dx
                inside = 0 <= near[0] < foreground.shape[0] and 0 <= near[1] < foreground.shape[1]
                if inside and foreground[near] and not seen[near]:
                    seen[near] = True
                    stack.append(near)
        found.append(frozenset(part))
    return set(found)


@pytest.mark.parametrize("density", [0.1, 0.35, 0.5, 0.7])
def test_labelling_equals_flood_fill(density):
    rng = np.random.default_rng(int(density * 100))
    foreground = np.zeros((31, 43), bool)
    foreground[1:-1, 1:-1] = rng.random((29, 41)) < density
    foreground[5, 1:-1] = foreground[1:-1, 20] = True
    image = canvas(31, 43)
    image[foreground] = (200, 30, 30)
    pixels = Pixels(image, threshold=24, similarity=0.97)
    found = {frozenset(zip(pixels.y[pixels.label == k], pixels.x[pixels.label == k])) for k in range(pixels.count)}
    assert found == flood(foreground)


def test_labelling_follows_a_spiral_and_does_not_wrap_around():
    image = canvas(41, 41)
    y, x, step = 1, 1, 38
    turns = itertools.cycle([(0, 1), (1, 0), (0, -1), (-1, 0)])
    for number in range(18):
        dy, dx = next(turns)
        for _ in range(step):
            image[y, x] = 0
            y, x = y + dy, x + dx
        step -= 2 * (number % 2) if number else 0
    assert Pixels(image, threshold=24, similarity=0.97).count == 1
    image = canvas()
    image[10, 50:60] = image[11, 0:10] = 0  # the end of one row and the start of the next
    assert Pixels(image, threshold=24, similarity=0.97).count == 2


def test_background_is_the_commonest_colour_of_the_rim():
    image = canvas(color=(240, 238, 250))
    image[:30, 0] = (10, 200, 10)
    assert np.abs(background(image) - (240, 238, 250)).max() < 0.5


def test_components_of_a_drawn_rectangle_are_exact():
    image = canvas(40, 80)
    image[10:26, 20:52] = (200, 40, 40)  # 16 rows, 32 columns
    regions = ComponentsExtractor()(image)
    assert isinstance(regions, Regions)
    assert regions.boxes.tolist() == [[0, 0, 80, 40], [20, 10, 52, 26]]
    assert regions.features.dtype == np.float32
    assert regions.features.shape == (2, ComponentsExtractor.dim)
    whole, patch = (dict(zip(components.ENTRIES, feature.tolist())) for feature in regions.features)
    assert (whole["whole"], patch["whole"]) == (1, 0)
    assert whole["fill"] == pytest.approx(2 * 512 / 3200 - 1)
    expected = {
        "red": 2 * 200 / 255 - 1, "green": 2 * 40 / 255 - 1, "blue": 2 * 40 / 255 - 1, "hue x": 1, "hue y": 0,
        "saturation": 0.8, "x": 2 * 36 / 80 - 1, "y": 2 * 18 / 40 - 1, "left": -0.5, "top": -0.5, "right": 0.3,
        "bottom": 0.3, "width": 1 + np.log2(0.4) / 2.5, "height": 1 + np.log2(0.4) / 2.5,
        "root area": 1 + np.log2(0.4) / 2.5, "fill": 1, "aspect": 0.5, "roundness": np.sqrt(4 * np.pi * 512 / 96**2),
        "eta20": 6 * (32**2 - 1) / 12 / 512, "eta02": 6 * (16**2 - 1) / 12 / 512, "eta11": 0, "eta30": 0, "eta12": 0,
        "hu1": 4 * (32**2 + 16**2 - 2) / 12 / 512, "hu3": 0, "cell 0,0": 1, "cell 3,3": 1,
    }  # fmt: skip
    assert {name: patch[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    corners = [patch[name] for name in components.ENTRIES if name.startswith("near ")]
    assert sum(corners) == pytest.approx(1)


def test_hu_entries_do_not_change_when_the_patch_is_turned():
    names = ["roundness", "hu1", "hu2", "hu3", "hu4", "root area"]
    for shape in SHAPES:
        image = canvas(50, 50)
        image[8:41, 8:41][mask(shape, 16) > 0.5] = 30
        first, second = (ComponentsExtractor(whole_image=False)(np.rot90(image, k).copy()).features[0] for k in (0, 1))
        picked = [components.ENTRIES.index(name) for name in names]
        np.testing.assert_allclose(first[picked], second[picked], atol=1e-5)


def test_every_toy_thing_is_one_region_with_its_own_colour():
    extractor = ComponentsExtractor()
    for scene in scenes("val", 60):
        regions = extractor(render(scene))
        assert len(regions.boxes) == len(scene.things) + 1
        assert np.abs(regions.features).max() <= 2
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            inside = (regions.boxes[1:, :2] >= (x1, y1)).all(1) & (regions.boxes[1:, 2:] <= (x2, y2)).all(1)
            assert inside.sum() == 1
            feature = regions.features[1:][inside][0]
            color = np.clip(np.array(COLORS[thing.color]) + thing.shade, 0, 255)
            np.testing.assert_allclose(feature[1:4], 2 * color / 255 - 1, atol=0.03)


def test_toy_shapes_differ_clearly():
    """Nearest neighbour over the shape entries alone names every shape, whatever its size and colour."""
    start = components.ENTRIES.index("fill")
    known, wanted = [], []
    for scene in scenes("train", 80):
        regions = ComponentsExtractor(whole_image=False)(render(scene))
        for feature, box in zip(regions.features, regions.boxes):
            thing = next(t for t in scene.things if t.box[0] <= box[0] and t.box[1] <= box[1]
                         and box[2] <= t.box[2] and box[3] <= t.box[3])  # fmt: skip
            known.append(feature[start:])
            wanted.append(thing.shape)
    known, half = np.array(known), len(known) // 2
    nearest = np.abs(known[half:, None] - known[None, :half]).sum(-1).argmin(1)
    assert [wanted[k] for k in nearest] == wanted[half:]


def test_touching_patches_of_different_colours_stay_apart():
    image = canvas()
    image[10:30, 10:30] = (200, 30, 30)
    image[10:30, 30:50] = (30, 60, 200)
    assert ComponentsExtractor()(image).boxes.tolist()[1:] == [[10, 10, 30, 30], [30, 10, 50, 30]]


def test_empty_picture_gives_the_whole_picture():
    for extractor in (ComponentsExtractor(), ComponentsExtractor(whole_image=False)):
        regions = extractor(canvas())
        assert regions.boxes.tolist() == [[0, 0, 60, 40]]
        assert regions.features[0, 0] == 1


def test_small_and_many_patches_are_cut():
    image = canvas(100, 100)
    for k in range(10):
        image[2 + 9 * k : 6 + 9 * k, 5 : 10 + k] = 20
    image[50, 90] = 0
    assert len(ComponentsExtractor(whole_image=False)(image).boxes) == 10
    kept = ComponentsExtractor(whole_image=False, max_regions=3)(image).boxes
    assert (kept[:, 2] - kept[:, 0]).tolist() == [14, 13, 12]  # the largest


def test_tiny_patches_and_odd_sizes_are_finite():
    for height, width in ((1, 1), (1, 9), (5, 3), (33, 47)):
        image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        for extractor in (ComponentsExtractor(min_area=1), GridExtractor(cells=1)):
            regions = extractor(image)
            assert np.isfinite(regions.features).all()
            assert np.abs(regions.features).max() <= 2
            assert len(regions.features) == len(regions.boxes)


def test_grid_equals_a_plain_loop():
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    regions = GridExtractor(cells=4)(image)
    assert regions.features.shape == (17, GridExtractor.dim)
    assert regions.boxes[0].tolist() == [0, 0, 53, 37]
    color = image / 255
    light = color.mean(-1)
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, 1:] = np.abs(np.diff(light, axis=1))
    down[1:] = np.abs(np.diff(light, axis=0))
    covered = np.zeros((37, 53), int)
    for feature, (x1, y1, x2, y2) in zip(regions.features, regions.boxes.astype(int)):
        named = dict(zip(grid.ENTRIES, feature.tolist()))
        cell = np.s_[y1:y2, x1:x2]
        assert named["red"] == pytest.approx(2 * color[cell][..., 0].mean() - 1, abs=1e-5)
        assert named["blue spread"] == pytest.approx(2 * color[cell][..., 2].std(), abs=1e-4)
        assert named["vertical edges"] == pytest.approx(min(8 * across[cell].mean(), 1), abs=1e-5)
        assert named["busy"] == pytest.approx((np.maximum(across, down)[cell] > 0.1).mean(), abs=1e-3)
        assert named["x"] == pytest.approx((x1 + x2) / 53 - 1, abs=1e-6)
        covered[cell] += 1
    assert (covered == 2).all()  # each pixel in one cell, and in the whole


def test_settings_are_checked():
    for wrong in ({"threshold": 300}, {"similarity": 1.0}, {"min_area": 0}, {"max_regions": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            ComponentsExtractor(**wrong)
    with pytest.raises(UserError, match="cells is 0"):
        GridExtractor(cells=0)
    with pytest.raises(UserError, match="lower cells"):
        GridExtractor(cells=9)(canvas(5, 60))
