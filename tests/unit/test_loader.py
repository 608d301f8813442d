"""The loader: order, exact resume, slots, errors in its thread, and no hanging."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

from limner.data import loader as loader_module
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.errors import UserError


def indices(items: np.ndarray, slot: int) -> dict:
    return {"id": items, "slot": slot}


def load(size: int = 10, batch: int = 3, make=indices, *, shuffle: bool = True, **options) -> BatchLoader:
    return BatchLoader(BatchOrder(size, batch, seed=1, shuffle=shuffle), make, **options)


def ids(batches) -> list[list[int]]:
    return [batch["id"].tolist() for batch in batches]


def expected(loader: BatchLoader, epoch: int) -> list[list[int]]:
    return [items.tolist() for items in loader.order.batches(epoch)]


def threads() -> int:
    return sum(thread.name == "limner-batches" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = threads()
    yield
    gc.collect()
    for _ in range(200):
        if threads() <= before:
            return
        time.sleep(0.01)
    raise AssertionError("a prefetch thread was left behind")


def test_yields_the_order_of_each_epoch():
    loader = load()
    assert len(loader) == 4
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        assert ids(loader) == expected(loader, epoch)
    assert ids(loader) == expected(loader, 3)  # again the same


def test_epoch_may_be_set_after_iter():
    """Lightning calls iter first and set_epoch second."""
    loader = load()
    iterator = iter(loader)
    loader.set_epoch(5)
    assert ids(iterator) == expected(loader, 5)


@pytest.mark.parametrize("done", [0, 1, 3, 4])
@pytest.mark.parametrize("again", [True, False])
def test_resume_goes_on_where_it_stopped(done, again):
    first = load()
    first.set_epoch(2)
    iterator = iter(first)
    for _ in range(done):
        next(iterator)
    state = first.state_dict()
    assert state == {"epoch": 2, "batch": done}

    second = load()
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert len(second) == 4
    iterator = iter(second)
    if again and done < 4:
        second.set_epoch(2)  # as Lightning does in mid-epoch
    rest = expected(second, 2)[done:] or expected(second, 3)
    assert ids(iterator) == rest
    after = {"epoch": 2 if done < 4 else 3, "batch": 4}
    assert second.state_dict() == after
    second.set_epoch(7)  # the loaded position is spent
    assert second.state_dict() == {"epoch": 7, "batch": 0}
    assert ids(second) == expected(second, 7)


def test_another_epoch_drops_the_loaded_position():
    loader = load()
    loader.load_state_dict({"epoch": 2, "batch": 3})
    loader.set_epoch(3)
    assert ids(loader) == expected(loader, 3)


def test_state_of_other_data_is_refused():
    with pytest.raises(UserError, match="stands at batch 5 of an epoch, these data make 4"):
        load().load_state_dict({"epoch": 0, "batch": 5})


def test_state_counts_what_was_handed_out_not_what_was_made():
    loader = load(30, ring=6)
    iterator = iter(loader)
    next(iterator)
    time.sleep(0.05)  # the thread works ahead
    assert loader.state_dict()["batch"] == 1


@pytest.mark.parametrize("ring", [3, 5])
def test_batches_stay_valid_until_two_more_are_drawn(ring):
    """Across epochs, early ends and with a fast thread: slots are overwritten, batches in use are not."""
    slots = [np.full(3, -1) for _ in range(ring)]

    def make(items, slot):
        slots[slot][: len(items)] = items
        return {"id": slots[slot][: len(items)], "right": items.copy()}

    loader = load(25, 3, make, ring=ring)
    held: list[dict] = []
    for epoch in range(6):
        loader.set_epoch(epoch)
        for number, batch in enumerate(loader):
            held = [*held[-1:], batch]
            time.sleep(0.001)
            assert all(np.array_equal(one["id"], one["right"]) for one in held)
            if epoch % 2 and number == 4:
                break


def test_ahead_is_one_batch_early():
    events: list[tuple[str, int]] = []

    def make(items, slot):
        events.append(("make", int(items[0])))
        return {"id": items}

    loader = load(12, 3, make, shuffle=False, ahead=lambda items: events.append(("ahead", int(items[0]))))
    assert len(list(loader)) == 4
    assert events == [
        *[("ahead", 0), ("ahead", 3), ("make", 0), ("ahead", 6), ("make", 3)],
        *[("ahead", 9), ("make", 6), ("make", 9)],
    ]


def test_made_in_another_thread_one_ahead():
    made: list[int] = []

    def make(items, slot):
        assert threading.current_thread() is not threading.main_thread()
        made.append(int(items[0]))
        return {"id": items}

    iterator = iter(load(30, 3, make, shuffle=False))
    next(iterator)
    for _ in range(200):
        if len(made) == 2:
            break
        time.sleep(0.01)
    time.sleep(0.02)
    assert made == [0, 3]


def faulty(items: np.ndarray, slot: int) -> dict:
    if 6 in items:
        raise ZeroDivisionError("in the thread")
    return {"id": items}


def test_errors_come_out_where_they_belong():
    loader = load(12, 3, faulty, shuffle=False)
    iterator = iter(loader)
    assert next(iterator)["id"].tolist() == [0, 1, 2]
    next(iterator)
    with pytest.raises(ZeroDivisionError, match="in the thread") as caught:
        next(iterator)
    assert any(frame.name == "faulty" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert loader.state_dict() == {"epoch": 0, "batch": 2}
    with pytest.raises(StopIteration):
        next(iterator)


def test_stop_iteration_is_no_silent_end():
    def make(items, slot):
        raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(load(make=make))


def test_only_the_newest_iteration_draws():
    loader = load(30, 3)
    old, new = iter(loader), iter(loader)
    next(old)
    assert next(new)["id"].tolist() == expected(loader, 0)[0]
    with pytest.raises(RuntimeError, match="newer iteration"):
        next(old)
    assert ids(new) == expected(loader, 0)[1:]


def test_forgotten_iterations_end():
    """The fixture looks for threads: a break, a dropped iterator, a dropped loader, one never drawn from."""
    loader = load(300)
    for _ in loader:
        break
    iterator = iter(loader)
    next(iterator)
    del iterator
    iter(loader)
    dropped = iter(load(300))
    next(dropped)


def test_slots_wait_for_the_device(monkeypatch):
    """A slot is filled only after the fence taken when the batch after next was drawn."""
    events: list[str] = []

    def fence():
        events.append("queued")
        return lambda: events.append("waited")

    def make(items, slot):
        events.append("make")
        return {"id": items}

    monkeypatch.setattr(loader_module, "cuda_fence", fence)
    iterator = iter(load(12, 3, make, shuffle=False))
    for count in range(2, 6):
        next(iterator)
        for _ in range(200):
            if events.count("make") >= min(count, 4):
                break
            time.sleep(0.005)
    assert events[:3] == ["make", "queued", "waited"] or events[:3] == ["make", "make", "queued"]
    makes = [number for number, event in enumerate(events) if event == "make"]
    for made in makes[1:]:
        assert "waited" in events[:made]


def test_small_rings_are_refused():
    with pytest.raises(ValueError, match="expected 3 or more"):
        load(ring=2)


@pytest.mark.parametrize("ending", ["break", "raise KeyError", "sys.exit(7)", "pass"])
def test_interpreter_exit_never_hangs(ending):
    """With a thread in the middle of a batch and one waiting for a slot."""
    code = f"""
import sys, time, numpy as np
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
def make(items, slot):
    time.sleep(0.02); np.random.rand(100, 100) @ np.random.rand(100, 100)
    return {{"id": items}}
loader = BatchLoader(BatchOrder(100, 10, seed=0, shuffle=True), make)
other = iter(BatchLoader(BatchOrder(100, 10, seed=0, shuffle=True), make, ring=4))
next(other)
for number, batch in enumerate(loader):
    if number == 2:
        {ending}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == {"raise KeyError": 1, "sys.exit(7)": 7}.get(ending, 0), done.stderr
    assert "Fatal" not in done.stderr
