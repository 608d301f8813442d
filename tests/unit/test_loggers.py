"""metrics.jsonl: one line a logged step, cut back to the checkpoint on resume."""

from __future__ import annotations

import json
import math

import pytest

from limner.errors import UserError
from limner.loggers.lines import JsonLines
from limner.reports.source import read_metrics


def test_lines(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    assert lines.size() == 0
    lines.log_metrics({"train/loss": 0.5, "epoch": 1}, 3)
    lines.log_metrics({"val/score": math.nan, "a": math.inf}, 4)
    lines.log_hyperparams({})
    text = lines.path.read_text()
    assert [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()] == read_metrics(lines.path)
    assert read_metrics(lines.path) == [
        {"step": 3, "train/loss": 0.5, "epoch": 1},
        {"step": 4, "val/score": None, "a": None},
    ]
    assert lines.size() == len(text)


def test_rewind_cuts_what_a_resumed_run_repeats(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.log_metrics({"a": 1.0}, 1)
    size = lines.size()
    lines.log_metrics({"a": 2.0}, 2)
    with open(lines.path, "a") as file:
        file.write('{"step": 3, "a"')  # killed while writing
    assert [line["step"] for line in read_metrics(lines.path)] == [1, 2]
    lines.rewind(size)
    assert [line["step"] for line in read_metrics(lines.path)] == [1]
    lines.rewind(10**6)  # never longer than it is
    assert lines.size() == size
    lines.log_metrics({"a": 2.5}, 2)
    assert [line["a"] for line in read_metrics(lines.path)] == [1.0, 2.5]


def test_rewind_without_a_file(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.rewind(10)
    assert not lines.path.exists()


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(UserError, match="free space, then: limner train resume="):
        JsonLines(tmp_path / "gone/metrics.jsonl").log_metrics({"a": 1.0}, 1)


def test_rewind_to_a_step(tmp_path):
    lines = JsonLines(tmp_path / "speed.jsonl")
    lines.rewind_to(3)
    assert not lines.path.exists()
    for step in (1, 2, 3, 4):
        lines.log_metrics({"speed/items": 10.5}, step)
    lines.path.write_text(lines.path.read_text() + '{"step": 5, "sp')
    lines.rewind_to(2)
    assert lines.path.read_text() == '{"step": 1, "speed/items": 10.5}\n{"step": 2, "speed/items": 10.5}\n'
