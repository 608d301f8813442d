"""The batch of a loss that is not finite: the first is kept, as plain types, and written where the run is."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from limner import bad_batch
from limner.bad_batch import BadBatch
from limner.losses import Loss

CPU = torch.device("cpu")


def see(keeper: BadBatch, step: int, *values: float) -> None:
    names = ("loss", "reward")
    losses = {name: Loss(torch.tensor(value), 2) for name, value in zip(names, values)}
    batch = {
        "id": torch.tensor([step]), "rows": np.arange(2), "texts": ["a", None], "deep": {"x": (1, 2.5, np.int64(3))},
        "odd": object(), "total": 2,
    }  # fmt: skip
    keeper.see(batch, losses, epoch=0, step=step, batch_idx=step, rank=0)


def test_the_first_is_kept(tmp_path):
    """Also when only a loss beside the optimised one is not finite; what comes after it changes nothing."""
    keeper = BadBatch(tmp_path)
    torch.manual_seed(5)
    see(keeper, 1, 4.0, 2.0)
    assert keeper.write(1, CPU) is None
    see(keeper, 2, 6.0, float("inf"))
    torch.manual_seed(6)
    see(keeper, 3, float("nan"), float("nan"))
    path = keeper.write(1, CPU)
    assert path == tmp_path / "bad_batch.pt"
    saved = torch.load(path, weights_only=True)
    assert (saved["step"], saved["seed"], saved["losses"]) == (2, 5, {"loss": 3.0, "reward": float("inf")})
    batch = saved["batch"]
    assert batch["id"].tolist() == [2]
    assert batch["rows"].tolist() == [0, 1]
    assert (batch["texts"], batch["deep"], batch["total"]) == (["a", None], {"x": [1, 2.5, 3]}, 2)
    assert batch["odd"].startswith("<object")


def test_losses_of_a_gpu_are_looked_at_when_the_next_step_begins(tmp_path, monkeypatch):
    """As on a device: behind a fence, one step late, and the batch that is kept is the one that made them."""
    waited = []
    monkeypatch.setattr(bad_batch, "fence_of", lambda totals: lambda: waited.append(1))
    keeper = BadBatch(tmp_path)
    see(keeper, 1, float("nan"), 0.0)
    assert (keeper.found, waited) == (None, [])
    see(keeper, 2, float("nan"), 0.0)
    assert keeper.found is not None
    assert (keeper.found["step"], waited) == (1, [1])
    last = BadBatch(tmp_path)
    see(last, 9, float("nan"), 0.0)  # no step comes after it
    assert torch.load(last.write(1, CPU), weights_only=True)["step"] == 9


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("PytorchStreamWriter")]
)
def test_a_full_disk_does_not_hide_the_loss(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    keeper = BadBatch(tmp_path)
    see(keeper, 1, float("nan"), 0.0)
    monkeypatch.setattr(bad_batch.torch, "save", full)
    assert keeper.write(1, CPU) is None
    assert list(tmp_path.iterdir()) == []
