"""Benchmarks compare before they measure: the comparisons run, at tiny sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "scripts/benchmarks"
MEASURED = ("evaluate", "train", "dense")


def run(*words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / words[0]), *words[1:]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_both_ways_of_visual_dialog_are_equal():
    """Scores, ranks, losses and gradients; a batch is made, texts are read."""
    done = run("visdial.py", "--quick")
    assert done.returncode == 0, done.stderr
    lines = {line.split(":")[0]: line for line in done.stdout.splitlines()}
    assert "ranks are equal in 10 of 10 rounds" in lines["evaluate"]
    for part in MEASURED:
        differences = [float(number) for number in re.findall(r"differ by ([-+.e0-9]+[0-9])", lines[part])]
        assert differences, lines[part]
        assert max(differences) < 1e-4, lines[part]
    assert "sequences is made in" in done.stdout
    assert "from the cache" in done.stdout


def test_a_wrong_part_is_refused():
    done = run("visdial.py", "--only", "evaluate,training")
    assert done.returncode == 2
    assert "training is none of evaluate, train, dense" in done.stderr


def test_start_up_of_visual_dialog():
    """A file of the official format is written, read, and found in the cache."""
    done = run("visdial_size.py", "--dialogs", "60", "--batches", "1")
    assert done.returncode == 0, done.stderr
    found = re.findall(r"start-up to the first batch, (\w+)", done.stdout)
    assert found == ["cold", "cached"]
    assert "60 dialogs of 600 rounds" in done.stdout
