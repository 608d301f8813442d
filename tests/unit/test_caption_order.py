"""Which captions make which batch: a function of seed and epoch, the same for any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.data.caption_order import CaptionOrder
from limner.errors import UserError


def firsts(counts) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def images_of(first: np.ndarray, captions: np.ndarray) -> np.ndarray:
    return np.searchsorted(first, captions, side="right") - 1


counts_of_images = st.lists(st.integers(1, 6), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(
    counts=counts_of_images,
    share=st.integers(1, 4),
    world=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    drawn=st.none() | st.integers(1, 7),
)
def test_every_world_sees_the_same_captions(counts, share, world, seed, drawn):
    first = firsts(counts)
    options = {"seed": seed, "captions_per_image": drawn}
    one = CaptionOrder(first, share * world, **options)
    ranks = [CaptionOrder(first, share * world, rank=rank, world=world, **options) for rank in range(world)]
    for epoch in (0, 3):
        steps = one.batches(epoch)
        seen = Counter(np.concatenate(steps).tolist())
        if drawn is None:
            assert seen == Counter(range(first[-1]))
        for image, count in enumerate(counts):
            mine = [seen[c] for c in range(first[image], first[image + 1])]
            assert sum(mine) == (drawn or count)
            assert max(mine) - min(mine) <= 1  # none again before all were drawn
        shares = [order.batches(epoch) for order in ranks]
        assert {len(mine) for mine in shares} == {len(steps)} == {len(one)} == {len(order) for order in ranks}
        for number, (step, parts) in enumerate(zip(steps, zip(*shares))):
            images = np.unique(images_of(first, step))
            assert len(images) == one.total(number) or world > len(images)
            for part in parts:
                assert (np.diff(part) >= 0).all()  # so the captions of an image stand together
            together = np.sort(np.concatenate(parts))
            if len(images) >= world:
                assert together.tolist() == step.tolist()
                assert sum(len(np.unique(images_of(first, part))) for part in parts) == ranks[0].total(number)
            else:  # too few images to share: they are repeated
                assert set(together) == set(step)
                assert all(len(part) for part in parts)


def test_a_function_of_seed_and_epoch_alone():
    first = firsts([5] * 200)
    order = CaptionOrder(first, 16, seed=1, captions_per_image=2)
    flat = lambda order, epoch: np.concatenate(order.batches(epoch)).tolist()  # noqa: E731
    fifth = flat(order, 5)
    flat(order, 2)
    assert flat(order, 5) == fifth
    assert flat(CaptionOrder(first, 16, seed=1, captions_per_image=2), 5) == fifth
    assert flat(order, 6) != fifth
    assert flat(CaptionOrder(first, 16, seed=2, captions_per_image=2), 5) != fifth


def test_captions_are_drawn_anew_in_every_epoch():
    """Also the choice within an image changes, not only the order of the images."""
    order = CaptionOrder(firsts([5] * 100), 10, seed=0, captions_per_image=1)
    first, second = (np.sort(np.concatenate(order.batches(epoch))) for epoch in (0, 1))
    assert (first // 5).tolist() == (second // 5).tolist() == list(range(100))
    assert 5 < (first == second).sum() < 40  # a fifth by chance


def test_the_drawing_never_changes():
    """A checkpoint of one version resumes in the next: these numbers may not change."""
    order = CaptionOrder(firsts([3, 1, 2, 5, 4]), 2, seed=3, captions_per_image=2)
    assert [batch.tolist() for batch in order.batches(1)] == EXPECTED


EXPECTED = [[0, 2, 4, 5], [3, 3, 7, 8], [12, 14]]


def test_drawing_is_uniform():
    """Every caption, and every pair of an image's captions, is as likely as every other."""
    pairs = Counter()
    order = CaptionOrder(firsts([4] * 50), 50, seed=7, captions_per_image=2)
    for epoch in range(60):
        pairs.update(map(tuple, (order.batches(epoch)[0] % 4).reshape(-1, 2).tolist()))
    assert set(pairs) == {(a, b) for a in range(4) for b in range(a + 1, 4)}
    assert min(pairs.values()) > 410  # 500 expected, sigma 20
    assert max(pairs.values()) < 590


def test_the_order_of_images_is_that_of_any_data():
    """Images come as BatchOrder draws them, whatever is drawn of their captions."""
    first = firsts([3] * 40)
    orders = [CaptionOrder(first, 7, seed=5, captions_per_image=n) for n in (None, 1, 3)]
    for batches in zip(*(order.batches(2) for order in orders)):
        assert len({tuple(np.unique(batch // 3).tolist()) for batch in batches}) == 1


def test_wrong_arguments():
    with pytest.raises(ValueError, match="an image without captions"):
        CaptionOrder(firsts([1, 0, 2]), 2, seed=0)
    with pytest.raises(ValueError, match="captions_per_image is 0, expected 1 or more, or None"):
        CaptionOrder(firsts([1]), 2, seed=0, captions_per_image=0)
    with pytest.raises(UserError, match="batch_size: 5 items a step cannot be shared by 2 processes"):
        CaptionOrder(firsts([1] * 9), 5, seed=0, world=2)
