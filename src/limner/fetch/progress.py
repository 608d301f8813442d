"""How far a transfer is: a bar with speed and time left for people, a line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from limner.fetch.transfer import Show

EVERY = 60  # seconds between two lines of a log


def size(count: int | None) -> str:
    """`1,234 bytes`, `21.7 MB`; `size unknown` for None."""
    if count is None:
        return "size unknown"
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,} bytes"


@contextmanager
def watching() -> Iterator:
    """Gives what makes a `Show` for a file; on a terminal the bars stand below what is printed meanwhile."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def bar(name: str) -> Show:
            for old in bars.task_ids:
                bars.remove_task(old)
            task = bars.add_task(name, total=None)
            begun = False

            def show(done: int, total: int | None) -> None:
                nonlocal begun
                if not begun:  # what was there before does not count for the speed
                    bars.reset(task, total=total, completed=done)
                    begun = True
                bars.update(task, completed=done, total=total)

            return show

        yield bar


def _lines(name: str) -> Show:
    first: tuple[float, int] | None = None
    told = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal first, told
        now = time.monotonic()
        first = first or (now, done)
        if now - told < EVERY:
            return
        told = now
        rate = (done - first[1]) / max(now - first[0], 1e-9)
        left = "" if total is None or rate <= 0 else f", {(total - done) / rate / 60:,.0f} min left"
        of = "" if total is None else f" of {size(total)}"
        print(f"{name}: {size(done)}{of}, {size(int(rate))}/s{left}", file=sys.stderr, flush=True)

    return show
