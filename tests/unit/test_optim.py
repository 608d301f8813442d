"""Learning-rate schedules: their values at known epochs, and the rate torch's optimiser gets."""

from __future__ import annotations

import pytest
import torch

from limner.optim import Constant, Linear, Steps, scheduler


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(), {0: 1, 0.5: 1, 30: 1}),
        (Constant(warmup_epochs=2), {0: 1e-3, 0.5: 0.25, 1: 0.5, 2: 1, 9: 1}),
        (Linear(), {0: 1, 2.5: 0.75, 5: 0.5, 10: 0}),
        (Linear(end=0.2), {0: 1, 5: 0.6, 10: 0.2, 11: 0.2}),
        (Linear(warmup_epochs=2), {0: 1e-3, 1: 0.5, 2: 1, 6: 0.5, 10: 0}),
        (Steps(warmup_epochs=3, at=[6, 8], factor=0.2), {0: 1e-3, 1.5: 0.5, 3: 1, 5.9: 1, 6: 0.2, 7.9: 0.2, 8: 0.04}),
    ],
)
def test_values(schedule, values):
    for epoch, factor in values.items():
        assert schedule(epoch, 10) == pytest.approx(factor), epoch


def test_a_schedule_that_ends_with_its_warm_up_divides_by_nothing():
    assert Linear(warmup_epochs=10)(10, 10) == 0.0


def test_the_optimiser_follows_by_steps():
    """The factor multiplies each group's own rate, and a fraction of an epoch counts."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    chosen = scheduler(optimizer, Linear(), steps_per_epoch=2, epochs=3)
    seen = []
    for _ in range(7):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        chosen.step()
    first = [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]
    assert [rates[0] for rates in seen] == pytest.approx(first)
    assert [rates[1] for rates in seen] == pytest.approx([rate / 10 for rate in first])


def test_state_is_plain():
    """A schedule adds nothing to a checkpoint that torch would refuse to load."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    state = scheduler(optimizer, Steps(at=[1]), steps_per_epoch=2, epochs=3).state_dict()
    assert state["lr_lambdas"] == [None]
