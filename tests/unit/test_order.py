"""Which items make which batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.data.order import BatchOrder
from limner.errors import UserError


def flat(order: BatchOrder, epoch: int = 0) -> np.ndarray:
    return np.concatenate(order.batches(epoch))


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 60),
    share=st.integers(1, 5),
    world=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    shuffle=st.booleans(),
    by_group=st.booleans(),
    costs=st.booleans(),
)
def test_every_world_sees_the_same_steps(size, share, world, seed, shuffle, by_group, costs):
    groups = np.random.default_rng(seed).integers(0, 1 + size // 3, size)
    options = {"seed": seed, "shuffle": shuffle, "groups": groups, "by_group": by_group}
    if costs:
        options["costs"] = np.random.default_rng(seed + 1).random(size)
    batch_size = share * world
    one = BatchOrder(size, batch_size, **options)
    ranks = [BatchOrder(size, batch_size, rank=rank, world=world, **options) for rank in range(world)]
    for epoch in (0, 3):
        steps = one.batches(epoch)
        assert np.array_equal(np.sort(np.concatenate(steps)), np.arange(size))
        assert [len(step) for step in steps[:-1]] == [batch_size] * (len(steps) - 1)
        shares = [order.batches(epoch) for order in ranks]
        assert {len(mine) for mine in shares} == {len(steps)} == {len(one)}
        for number, (step, parts) in enumerate(zip(steps, zip(*shares))):
            together = np.concatenate(parts)
            assert len(together) == ranks[0].total(number) == max(len(step), world)
            assert np.array_equal(together[: len(step)], step)  # nothing else but repeats of its items after it
            assert set(together) == set(step)
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) > 0


def test_a_function_of_seed_and_epoch_alone():
    make = lambda seed: BatchOrder(1000, 64, seed=seed, shuffle=True)  # noqa: E731
    order = make(1)
    first = flat(order, 5)
    flat(order, 2)
    assert np.array_equal(first, flat(order, 5))
    assert np.array_equal(first, flat(make(1), 5))
    assert not np.array_equal(first, flat(order, 6))
    assert not np.array_equal(first, flat(make(2), 5))


def test_the_drawing_never_changes():
    """A checkpoint of one version resumes in the next: these numbers may not change."""
    assert flat(BatchOrder(12, 5, seed=3, shuffle=True), 1).tolist() == EXPECTED


EXPECTED = [0, 11, 6, 2, 1, 3, 7, 4, 10, 9, 8, 5]


def test_drawing_is_uniform():
    first = [flat(BatchOrder(5, 5, seed=seed, shuffle=True))[0] for seed in range(2000)]
    assert np.bincount(first, minlength=5).min() > 330  # 400 expected, sigma 18


@pytest.mark.parametrize("costs", [False, True])
def test_groups_stay_together(costs):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 1600) * 7919
    order = BatchOrder(
        1600, 50, seed=1, shuffle=True, groups=groups, by_group=True, costs=rng.random(1600) if costs else None
    )
    steps = order.batches(0)
    places: dict[int, set[int]] = {}
    for number, step in enumerate(steps):
        for group in groups[step]:
            places.setdefault(int(group), set()).add(number)
    split = sum(len(where) > 1 for where in places.values())
    assert split <= len(steps) - 1
    assert max(len(where) for where in places.values()) <= 2
    drawn = [groups[step[0]] for step in steps]
    assert drawn != sorted(drawn)


def test_evaluation_orders():
    groups = np.array([5, 1, 5, 0, 1])
    assert flat(BatchOrder(5, 2, seed=0, shuffle=False), 9).tolist() == [0, 1, 2, 3, 4]
    assert flat(BatchOrder(5, 2, seed=0, shuffle=False, groups=groups, by_group=True)).tolist() == [3, 1, 4, 0, 2]


def test_costs_save_padding_and_hide_no_order():
    costs = np.random.default_rng(0).integers(10, 101, 4096)

    def padded(order):
        return sum(costs[step].max() * len(step) for step in order.batches(0))

    plain = BatchOrder(4096, 64, seed=0, shuffle=True)
    sorted_ = BatchOrder(4096, 64, seed=0, shuffle=True, costs=costs)
    assert padded(sorted_) - costs.sum() < 0.2 * (padded(plain) - costs.sum())
    means = [costs[step].mean() for step in sorted_.batches(0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4  # not from cheap to dear


def test_bad_arguments():
    with pytest.raises(
        UserError, match="batch_size: 512 items a step cannot be shared by 3 processes: take 510 or 513"
    ):
        BatchOrder(10, 512, seed=0, shuffle=True, world=3)
    with pytest.raises(ValueError, match="by_group needs groups"):
        BatchOrder(10, 5, seed=0, shuffle=True, by_group=True)
    with pytest.raises(ValueError, match="each of 10 items"):
        BatchOrder(10, 5, seed=0, shuffle=True, groups=np.zeros(9), by_group=True)
    with pytest.raises(ValueError, match="make no sense"):
        BatchOrder(10, 5, seed=0, shuffle=True, rank=2, world=2)


def test_no_items_make_no_batches():
    order = BatchOrder(0, 4, seed=0, shuffle=True, groups=np.array([], int), by_group=True, costs=np.array([]))
    assert len(order) == 0
    assert order.batches(0) == []
