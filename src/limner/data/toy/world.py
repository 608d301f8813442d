"""Scenes of the toy world: what stands where. A seed decides everything, and no two splits share a scene.

A scene holds 3 to 8 things on a canvas of 192 x 144 pixels. A thing has one of 8 shapes, 8 colours and 2 sizes; things
never touch. To which split a scene may belong is decided by a checksum of its contents (the shapes, colours and sizes,
wherever they stand), so training, validation and test pictures differ in what they show however many are drawn, and
asking for more training scenes leaves the others as they were.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import NamedTuple

WIDTH, HEIGHT = 192, 144
SPLITS = ("train", "val", "test")
FIRST_ID = {"train": 1, "val": 1_000_001, "test": 2_000_001}  # ids are unique over the splits, as COCO's are
MOST_THINGS, FEWEST_THINGS = 8, 3
GAP = 3  # pixels between the boxes of two things, at least

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "heart", "moon")
COLORS = {
    "red": (206, 32, 41),
    "orange": (244, 130, 24),
    "yellow": (248, 210, 26),
    "green": (38, 150, 60),
    "blue": (36, 84, 200),
    "purple": (132, 44, 164),
    "brown": (124, 76, 36),
    "black": (34, 34, 38),
}
RADII = {"small": (8, 9), "big": (15, 16, 17)}  # half of the box side, pixels


class Thing(NamedTuple):
    """One coloured shape; `x`, `y` is the centre pixel, `radius` half of its box, `shade` is added to its colour."""

    shape: str
    color: str
    size: str
    x: int
    y: int
    radius: int
    shade: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in pixels, x2 and y2 one past the last pixel."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius + 1, self.y + self.radius + 1


class Scene(NamedTuple):
    """A picture before it is painted."""

    image_id: int
    split: str
    things: tuple[Thing, ...]

    @property
    def contents(self) -> tuple[tuple[str, str, str], ...]:
        """What is shown, wherever it stands: sorted (shape, color, size). No two scenes of a world share it."""
        return tuple(sorted(thing[:3] for thing in self.things))

    def named(self, *, shape: str | None = None, color: str | None = None, size: str | None = None) -> list[Thing]:
        """The things that have all the given properties."""
        return [
            thing
            for thing in self.things
            if (shape is None or thing.shape == shape)
            and (color is None or thing.color == color)
            and (size is None or thing.size == size)
        ]


def dice(seed: int, *names: object) -> random.Random:
    """An own stream of random numbers for each purpose: what one part draws never shifts another part."""
    return random.Random("/".join(str(name) for name in (seed, *names)))


def split_of(contents: tuple) -> str:
    """The only split in which such a scene may appear: 8 of 10 train, 1 val, 1 test, by checksum."""
    tenth = zlib.crc32(repr(contents).encode()) % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def _contents(rng: random.Random) -> list[tuple[str, str, str]]:
    """3 to 8 random things; in two of three scenes some share their shape or their colour, so that counting is work."""
    count = rng.randint(FEWEST_THINGS, MOST_THINGS)
    alike = rng.randint(2, min(count, 5)) if rng.random() < 2 / 3 else 0
    by_shape, shape, color = rng.random() < 0.5, rng.choice(SHAPES), rng.choice(tuple(COLORS))
    things = []
    for index in range(count):
        this_shape, this_color, size = rng.choice(SHAPES), rng.choice(tuple(COLORS)), rng.choice(tuple(RADII))
        if index < alike:
            this_shape, this_color = (shape, this_color) if by_shape else (this_shape, color)
        things.append((this_shape, this_color, size))
    return things


def _place(contents: list[tuple[str, str, str]], rng: random.Random) -> tuple[Thing, ...] | None:
    """Gives each thing a free place, big things first; None where they do not fit."""
    placed: list[Thing] = []
    for shape, color, size in sorted(contents, key=lambda thing: thing[2]):  # "big" sorts before "small"
        radius, shade = rng.choice(RADII[size]), rng.randint(-10, 10)
        for _ in range(60):
            x = rng.randint(radius + 2, WIDTH - radius - 3)
            y = rng.randint(radius + 2, HEIGHT - radius - 3)
            if all(max(abs(x - o.x), abs(y - o.y)) > radius + o.radius + GAP for o in placed):
                placed.append(Thing(shape, color, size, x, y, radius, shade))
                break
        else:
            return None
    rng.shuffle(placed)
    return tuple(placed)


def scenes(split: str, count: int, *, seed: int = 1) -> Iterator[Scene]:
    """The first `count` scenes of a split; the same seed gives the same scenes, and more of them continue the list."""
    rng, seen, made = dice(seed, split, "scenes"), set(), 0
    while made < count:
        contents = _contents(rng)
        key = tuple(sorted(contents))
        if key in seen or split_of(key) != split:
            continue
        things = _place(contents, rng)
        if things is None:
            continue
        seen.add(key)
        yield Scene(FIRST_ID[split] + made, split, things)
        made += 1


def file_name(scene: Scene) -> str:
    """The name of a scene's picture, in COCO's manner: `toy_train_000000000042.png`."""
    return f"toy_{scene.split}_{scene.image_id:012d}.png"
