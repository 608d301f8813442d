"""Damaged files: what disks, networks and people do to them, and values that no writer meant. Drawn from a seed."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

NUMBERS = (0, 1, -1, 7, 255, 2**15, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**70, -(2**70), 1e308, float("nan"), float("inf"), "", "x", "\ud800",
    "\x00", "a" * 5000, [], {}, [[]], {"": 0}, [None] * 9, {"id": []},
)  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with one to four damages."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not found:
            break
        rng.choice(DAMAGES)(found, rng)
    return bytes(found)


def _place(data: bytearray, rng: random.Random) -> int:
    """Mostly where something stands: files of arrays are full of zeros."""
    for _ in range(20):
        place = rng.randrange(len(data))
        if data[place]:
            return place
    return place


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def number(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    start = _place(data, rng) // size * size
    data[start : start + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, rng.choice(("little", "big")))


def noise(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    data[start : start + rng.randrange(1, 40)] = rng.randbytes(rng.randrange(40))


def block(data: bytearray, rng: random.Random) -> None:
    """A piece of the file stands elsewhere: twice, instead of another, or no more."""
    start, size, to = _place(data, rng), rng.choice((1, 8, 60, 600)), _place(data, rng)
    piece = bytes(data[start : start + size])
    data[to : to + rng.choice((0, len(piece)))] = piece if rng.random() < 0.8 else b""


DAMAGES = (cut, flip, flip, number, number, noise, block)


def altered(text: bytes, rng: random.Random) -> bytes:
    """A JSON file in which values are others; now and then it is damaged as well."""
    top = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 5))):
        top = _alter(top, rng)
    found = json.dumps(top, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
    return damaged(found, rng) if rng.random() < 0.2 else found


def _alter(top: Any, rng: random.Random) -> Any:
    """One value somewhere below becomes another, goes away, or stands twice."""
    parent, key, value = None, None, top
    while isinstance(value, dict | list) and value and (parent is None or rng.random() < 0.85):
        parent = value
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        value = value[key]
    if parent is None:
        return deepcopy(rng.choice(VALUES))
    what = rng.random()
    if what < 0.6:
        parent[key] = deepcopy(rng.choice(VALUES)) if rng.random() < 0.7 else rng.choice(NUMBERS)
    elif what < 0.8:
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, deepcopy(value))
    else:
        parent[rng.choice(("", "id", "image_id", "x"))] = parent.pop(key)
    return top
