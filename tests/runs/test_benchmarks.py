"""Benchmarks compare before they measure: the comparisons run, at tiny sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    printed = done.stdout.splitlines()
    lines = {line.split(":")[0]: line for line in reversed(printed)}  # fp32 comes first, then bf16 where there is some
    assert "ranks are equal in 10 of 10 rounds" in lines["evaluate"]
    for part in MEASURED:
        differences = [float(number) for number in re.findall(r"differ by ([-+.e0-9]+[0-9])", lines[part])]
        assert differences, lines[part]
        assert max(differences) < 1e-4, lines[part]
    assert "sequences is made in" in done.stdout
    assert "from the cache" in done.stdout


def test_convert_writes_what_it_read():
    """The converted features are compared with the originals; memory is measured."""
    done = run("convert.py", "--images", "40")
    assert done.returncode == 0, done.stderr
    assert "convert, standard library alone" in done.stdout
    before, after = map(int, re.findall(r"(\d+) MB after", done.stdout))
    assert after < before + 40


def test_a_wrong_part_is_refused():
    done = run("visdial.py", "--only", "evaluate,training")
    assert done.returncode == 2
    assert "training is none of evaluate, train, dense" in done.stderr


@pytest.mark.parametrize(
    ("task", "share", "summary"),
    [
        ("vqa", "0.002", "888 questions to train on, "),
        ("captions", "0.001", "114 images with 570 captions to learn"),
        ("visdial", "0.001", "123 dialogs of 1,230 rounds"),
    ],
)
def test_the_rehearsal(task, share, summary):
    """Files of the official formats are written, read by the shipped experiment, and found in the cache."""
    done = run("full_size.py", task, "--share", share, "--batches", "1", "--filled", "3")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"start-up to the first batch, ([\w ]+):", done.stdout) == ["cold", "from the cache"]
    assert summary in done.stdout


def test_what_a_checkpoint_costs(tmp_path):
    """The size is that of weights and two states of Adamax, and what was written is read back equal."""
    done = run("checkpoint.py", "--only", "vqa", "--times", "1", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (size, share) = re.findall(r"vqa: ([\d,]+) MB, .* share each 10 minutes ([\d.]+) %", done.stdout)[0]
    assert 250 < int(size.replace(",", "")) < 350
    assert float(share) < 3
    assert list(tmp_path.iterdir()) == []


def test_start_up_says_where_the_time_goes():
    done = run("startup.py", "--repeat", "1", "--logger", "files", "--scenes", "20")
    assert done.returncode == 0, done.stderr
    rows = {line[:46].strip(): [float(value) for value in line[46:].split()] for line in done.stdout.splitlines()[1:]}
    assert len(rows) == 10
    parts = [row[1] for title, row in rows.items() if title != "in all"]
    assert sum(parts) == pytest.approx(rows["in all"][1], abs=0.1)
    assert rows["import torch"][1] > 0.1
