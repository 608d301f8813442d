"""Damaged files are refused in one line: no crash, no hang, no memory without bound.

`make fuzz` gives each reader 10,000 inputs (FUZZ=10000); plain tests give it fewer. SEED=n draws others. A failure
names the input; `FUZZ_ONE="reader,seed,number"` reads that one in this process, where a debugger can look at it.
"""

from __future__ import annotations

import os
import random

import pytest
from forked import run
from readers import READERS, fresh

COUNT = int(os.environ.get("FUZZ", "150"))
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused(name, tmp_path, monkeypatch, capsys):
    reader = READERS[name]
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    whole = fresh(folder, reader)

    def write(rng: random.Random) -> None:
        reader.write(folder, whole, rng)

    told = run(name, COUNT, SEED, write, lambda: reader.read(folder), lost=reader.lost)
    with capsys.disabled():
        if COUNT > 1000:
            print(told, flush=True)


@pytest.mark.skipif("FUZZ_ONE" not in os.environ, reason="reads one input: FUZZ_ONE='reader,seed,number'")
def test_one_input(tmp_path):
    name, seed, number = os.environ["FUZZ_ONE"].rsplit(",", 2)
    reader = READERS[name]
    whole = fresh(tmp_path / "files", reader)
    reader.write(tmp_path / "files", whole, random.Random(f"{name} {seed} {number}"))
    reader.read(tmp_path / "files")


FAULTS = {
    "crash": (lambda: os.abort(), "SIGABRT"),
    "error": (lambda: {}["x"], "KeyError: 'x'"),
    "hunger": (lambda: bytearray(1 << 40), "MemoryError"),
    "several lines": (lambda: (_ for _ in ()).throw(__import__("limner").UserError("a\nb")), "several lines"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_must_not_happen_is_seen(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fault, message = FAULTS[kind]
    drawn = []
    with pytest.raises(AssertionError, match=rf"(?s)reader: input 3 of seed 5: .*{message}"):
        run("reader", 9, 5, drawn.append, lambda: fault() if len(drawn) == 4 else None)


def test_a_hang_is_seen(tmp_path, monkeypatch):
    import forked

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forked, "SECONDS", 1)

    def hang() -> None:
        while True:
            pass

    with pytest.raises(AssertionError, match="input 0 of seed 5: hangs"):
        run("reader", 1, 5, lambda rng: None, hang)
