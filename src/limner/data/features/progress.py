"""A line that says how far a long conversion is, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

RECENT = 60.0  # seconds whose speed tells the time left: what an earlier call had done is passed over quickly


def time_left(
    verb: str, *, now: Callable[[], float] = time.monotonic, stream: TextIO | None = None
) -> Callable[[int, int, int], None]:
    """A function to call with (images, how much is read, how much there is).

    At a terminal the line renews itself twice a second; in a log file there is one line a minute.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    wait = 0.5 if terminal else 60.0
    began = now()
    seen: deque[tuple[float, int]] = deque([(began, 0)])
    last = began

    def show(images: int, reached: int, total: int) -> None:
        nonlocal last
        moment = now()
        ended = terminal and reached >= total
        if moment - last < wait and not ended:
            return
        last = moment
        seen.append((moment, reached))
        while len(seen) > 2 and moment - seen[0][0] > RECENT:
            seen.popleft()
        (then, before), speed = seen[0], 0.0
        if moment > then:
            speed = (reached - before) / (moment - then)
        left = f", about {_duration((total - reached) / speed)} left" if speed > 0 and reached < total else ""
        line = f"{verb} {images:,} images, {100 * reached / max(total, 1):.0f} %{left}"
        print(f"\r{line:<70}" if terminal else line, end="\n" if ended or not terminal else "", file=stream, flush=True)

    return show


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
