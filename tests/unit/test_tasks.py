"""The task base: losses as sums and counts, rows scored once, the optimiser's schedule; and VQA's rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_vqa import ANSWERS, package

from limner.errors import UserError
from limner.optim import Linear
from limner.tasks.vqa import VQATask


def batch(questions: int = 3, *, total: int | None = None):
    generator = torch.Generator().manual_seed(0)
    made = {
        "id": torch.arange(questions) + 10,
        "feats": torch.randn(2, 3, 6, generator=generator),
        "mask": torch.tensor([[True, True, True], [True, True, False]]),
        "image": torch.arange(questions) % 2,
        "tokens": torch.randint(0, 5, (questions, 4), generator=generator),
        "scores": torch.rand(questions, 4, generator=generator),
    }
    return made if total is None else {**made, "total": total}


def task(loss: str = "soft_bce", **options) -> VQATask:
    made = VQATask(package(softmax=loss in ("softmax", "kl")).model, answers=ANSWERS, loss=loss, **options)
    made.log = lambda *_, **__: None  # type: ignore[method-assign]
    return made


def attach(made: VQATask, **settings):
    trainer = SimpleNamespace(world_size=1, global_step=7, **settings)
    made._trainer = trainer
    made._fabric = None
    type(made).trainer = property(lambda self: self._trainer)
    return trainer


@pytest.fixture(autouse=True)
def _trainer():
    before = VQATask.__dict__.get("trainer")
    yield
    if before is None and "trainer" in VQATask.__dict__:
        del VQATask.trainer


def test_step_loss_is_the_mean_over_the_global_batch():
    """A process with 2 of 5 items, of two processes: DDP's mean of the gradients is that of the mean over all 5."""
    made = task()
    attach(made).world_size = 2
    total, count = made.loss(batch(2))["loss"]
    assert count == 2
    assert made.training_step(batch(2, total=5), 0).item() == pytest.approx(total.item() * 2 / 5, rel=1e-6)


def test_means_add_sums_and_counts():
    made = task()
    attach(made)
    sums = [made.loss(batch(n))["loss"] for n in (3, 2)]
    made.training_step(batch(3), 0)
    made.training_step(batch(2), 1)  # gradients of both make one step
    expected = sum(s.total.item() for s in sums) / 5
    assert made.step_means() == pytest.approx({"loss": expected})
    made.step_sums = {}
    made.training_step(batch(2), 2)
    assert made.step_means()["loss"] == pytest.approx(sums[1].mean.item())
    assert made.epoch_means()["loss"] == pytest.approx((sum(s.total.item() for s in sums) + sums[1].total.item()) / 7)
    made.on_train_epoch_start()
    assert made.epoch_means() == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(bad):
    made = task()
    attach(made)
    made.training_step({**batch(3), "scores": torch.full((3, 4), bad)}, 0)
    with pytest.raises(UserError, match="at step 7: lower optim") as caught:
        made.step_means()
    assert "debug=anomaly" in str(caught.value)


@pytest.mark.parametrize(
    ("batches", "limit", "accumulate", "expected"), [(10, 1.0, 1, 10), (10, 1.0, 4, 3), (10, 0.5, 1, 5), (10, 2, 1, 2)]
)
def test_steps_of_an_epoch(batches, limit, accumulate, expected):
    made = task(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0), schedule=Linear())
    attach(
        made,
        datamodule=SimpleNamespace(train_dataloader=lambda: range(batches)),
        limit_train_batches=limit,
        accumulate_grad_batches=accumulate,
        max_epochs=2,
    )
    assert made.steps_per_epoch() == expected
    chosen = made.configure_optimizers()
    for _ in range(expected):
        chosen["optimizer"].step()
        chosen["lr_scheduler"]["scheduler"].step()
    assert chosen["optimizer"].param_groups[0]["lr"] == pytest.approx(0.5)


def test_frozen_parameters_are_left_alone():
    made = task(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0))
    attach(
        made,
        datamodule=SimpleNamespace(train_dataloader=lambda: range(2)),
        limit_train_batches=1.0,
        accumulate_grad_batches=1,
        max_epochs=2,
    )
    frozen = next(made.parameters())
    frozen.requires_grad_(False)
    groups = made.configure_optimizers()["optimizer"].param_groups
    assert all(frozen is not p for group in groups for p in group["params"])
    assert task().configure_optimizers() is None


def test_rows_are_scored_once_each():
    """An item that two batches held (padding) counts once."""
    made = task()
    attach(made)
    made.score = lambda rows: {"score": float(len(rows))}  # type: ignore[method-assign]
    made.on_validation_epoch_start()
    made.validation_step(batch(3), 0)
    made.validation_step(batch(2), 1)
    made.on_validation_epoch_end()
    assert made.scores == {"score": 3.0}
    assert [row["id"] for row in made.last_rows] == [10, 11, 12]
    made.on_validation_epoch_end()
    assert made.scores == {"score": 0.0}


@pytest.mark.parametrize("loss", ["soft_bce", "hard_bce", "softmax", "kl"])
def test_detailed_rows_say_what_plain_ones_say(loss):
    made = task(loss)
    made.questions = {10: (5, "is it red"), 11: (6, "what colour"), 12: (5, "it")}
    plain = made.rows(batch())
    made.detailed = True
    detailed = made.rows(batch())
    assert [r["answer"] for r in plain] == [r["answer"] for r in detailed]
    for row, regions in zip(detailed, (3, 2, 3)):
        assert (row["image_id"], row["question"]) == made.questions[row["id"]]
        assert row["top5"][0] == [row["answer"], row["confidence"]]
        assert len(row["attention"]) == regions
        assert sum(row["attention"]) == pytest.approx(1, abs=1e-4)
    total = sum(p for _, p in detailed[0]["top5"])
    assert (abs(total - 1) < 1e-5) == (loss in ("softmax", "kl"))
    assert np.isfinite(made.loss(batch())["loss"].total.item())


def test_an_unknown_loss():
    with pytest.raises(UserError, match="loss=mse: expected one of"):
        task("mse")


def test_without_references_rows_are_not_scored():
    assert task().score([{"id": 1}]) == {}
