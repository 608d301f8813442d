"""Are two run folders equal to the byte? And what do they log?"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch

from limner.reports.source import read_metrics


def status(run: Path) -> dict:
    return json.loads((run / "status.json").read_text())


def leaves(value, name=""):
    """`(path, tensor)` of every tensor in a checkpoint."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{name}/{key}")
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from leaves(item, f"{name}/{key}")


def same(run: Path, other: Path) -> None:
    """Weights, optimiser state, logged lines, metrics and rows are equal to the byte."""
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(r / "checkpoints" / name, weights_only=True) for r in (run, other))
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            mine, theirs = dict(leaves(a[part])), dict(leaves(b[part]))
            assert mine.keys() == theirs.keys()
            assert [k for k in mine if mine[k].numpy().tobytes() != theirs[k].numpy().tobytes()] == [], (name, part)
        assert a["global_step"] == b["global_step"]
        assert a["epoch"] == b["epoch"]
    assert (run / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    for name in ("result.json", "package/model.safetensors", "package/vocab.json", "eval/test/metrics.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    mine, theirs = (gzip.decompress((r / "eval/test/rows.jsonl.gz").read_bytes()) for r in (run, other))
    assert mine == theirs


def logged(*runs: Path) -> set[str]:
    """The names of everything that runs have logged."""
    lines = [line for run in runs for name in ("metrics", "speed") for line in read_metrics(run / f"{name}.jsonl")]
    return {name for line in lines for name in line} - {"step"}
