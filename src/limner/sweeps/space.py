"""What is searched: parameters written as Hydra writes sweeps, in `sweep.parameters` and on the command line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from limner.errors import UserError, listing
from limner.preflight import parse

SYNTAX = "interval(1e-4,1e-2), tag(log,interval(1e-4,1e-2)), int(interval(16,64)), range(16,64,16) or choice(a,b)"


class Range(NamedTuple):
    """Numbers between two ends, both inside."""

    low: float
    high: float
    step: float | None = None
    log: bool = False  #: equal ratios are equally likely

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


class Choices(NamedTuple):
    """Values as they are written on the command line."""

    values: tuple[str, ...]


Space = dict[str, "Range | Choices"]


def is_sweep_key(text: str) -> bool:
    """Is an override one of the search itself (`sweep=NAME`, `sweep.trials=5`), and not of its jobs?"""
    return text.lstrip("+~").startswith(("sweep=", "sweep.")) or text == "~sweep"


def read(text: str) -> Range | Choices:
    """What an override such as `optim.lr=interval(1e-4,1e-2)` says.

    Raises:
        UserError: it has one value, or an empty range.
    """
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    override = parse(text)
    value: Any = override.value() if override.is_sweep_override() else None
    if isinstance(value, IntervalSweep | RangeSweep):
        tags, low = value.tags, value.start
        high, step = (value.end, None) if isinstance(value, IntervalSweep) else (value.stop, value.step)
        assert low is not None
        assert high is not None
        if step is not None:  # Hydra's range ends before `stop`
            high = low + (math.ceil(round((high - low) / step, 9)) - 1) * step
        if not high > low or (("log" in tags) and low <= 0) or (step is not None and step <= 0):
            raise UserError(f"{text}: expected a range that goes up, and above 0 with tag(log, ...)")
        if step is not None and "log" in tags:
            raise UserError(f"{text}: steps and equal ratios do not go together: use choice(...) or interval(...)")
        return Range(low, high, step, "log" in tags)
    if not isinstance(value, ChoiceSweep):
        raise UserError(f"{text}: expected something to search, {SYNTAX}")
    try:
        return Choices(tuple(dict.fromkeys(override.sweep_string_iterator())))
    except (HydraException, ValueError) as error:
        raise UserError(f"{text}: {error}") from None


def space_of(parameters: Mapping[str, Any], words: Iterable[str]) -> Space:
    """The search space: the config's parameters, extended and replaced by the command line's.

    Args:
        parameters: name -> text of `sweep.parameters`.
        words: overrides; one with several values is searched, one with a single value is not searched any more.
    """
    space = {str(name): read(f"{name}={written(text)}") for name, text in parameters.items()}
    for text in words:
        override = parse(text)
        name = override.get_key_element()
        space.pop(name, None)
        if override.is_sweep_override():
            space[name] = read(text)
    return space


def written(value: Any) -> str:
    """A parameter of the config as text; a list is a choice."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"choice({','.join(map(str, value))})"
    return str(value)


def single(words: Iterable[str]) -> list[str]:
    """The overrides that have one value."""
    return [text for text in words if not parse(text).is_sweep_override()]


def first_of(space: Space) -> list[str]:
    """Overrides of one configuration of the space, to check what can be checked."""
    return [f"{name}={one.low if isinstance(one, Range) else one.values[0]}" for name, one in space.items()]


def one_job(overrides: Iterable[str]) -> list[str]:
    """The overrides of a sweep's first job: `lr=1,2` becomes `lr=1`; those of Hydra are left out."""
    first = []
    for text in overrides:
        if text.startswith("hydra"):
            continue
        if parse(text).is_sweep_override():
            (text,) = first_of({parse(text).get_key_element(): read(text)})
        first.append(text)
    return first


def refuse_unknown_options(space: Space, config_dirs: list[str]) -> None:
    """Refuses a choice between options of a config group when one of them does not exist."""
    from limner.preflight import group_names, split_overrides

    groups = group_names(config_dirs)
    for name, one in space.items():
        if name in groups and isinstance(one, Choices):
            split_overrides([f"{name}={value}" for value in one.values], config_dirs)


def refuse_unfit(space: Space, sampler: str) -> None:
    """Refuses a space that a sampler cannot search."""
    ranges = [name for name, one in space.items() if isinstance(one, Range)]
    if not space:
        raise UserError(f"sweep: nothing is searched: give a key a range, such as optim.lr={SYNTAX}")
    if sampler == "cmaes" and len(ranges) < 2:
        raise UserError(f"sweep.sampler=cmaes: needs two ranges of numbers, found {listing(ranges) or 'none'}")
    if sampler == "grid":
        refuse_endless(space)


def refuse_endless(space: Space) -> None:
    """Refuses intervals in a grid."""
    endless = [name for name, one in space.items() if isinstance(one, Range) and one.step is None]
    if endless:
        raise UserError(
            f"{listing(endless)}: a grid needs values: a,b,c, choice(a,b,c) or range(low,end,step); or search with "
            "sweep=search"
        )


def combinations(space: Space) -> list[dict[str, Any]]:
    """Every point of a space without intervals, the last parameter fastest."""
    return [dict(zip(space, point)) for point in itertools.product(*(values_of(one) for one in space.values()))]


def values_of(one: Range | Choices) -> Sequence[Any]:
    if isinstance(one, Choices):
        return one.values
    assert one.step is not None
    count = round((one.high - one.low) / one.step) + 1
    return [one.low + k * one.step if one.whole else float(one.low + k * one.step) for k in range(count)]


def plain(space: Space) -> dict[str, Any]:
    """The space as JSON, to be kept and compared."""
    return {
        name: {key: value for key, value in one._asdict().items() if value is not None and value is not False}
        if isinstance(one, Range)
        else list(one.values)
        for name, one in space.items()
    }
