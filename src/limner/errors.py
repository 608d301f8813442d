"""The one kind of error a user causes and can mend: a single clear line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn


class UserError(Exception):
    """An error in what the user gave: a file, a config key, an id.

    The command line prints it as one line without a traceback and exits with `exit_code`. The line says where
    (file and key), what was found, what was expected and the next step.
    """

    exit_code = 2


Fault = Callable[[UserError], None]  # what a reader does with a fault that the records after it do not hang on


def refuse(error: UserError) -> NoReturn:
    """The usual `Fault`: raises it. One that returns (`limner data check`) gets every fault, and what is wrong is left
    out."""
    raise error


def listing(items: Iterable[object], total: int | None = None, show: int = 5) -> str:
    """`"12, 15, 19 and 40 more"`: the first few items and the count of the rest, for error lines."""
    items = list(items)
    total = len(items) if total is None else total
    shown = [str(item) for item in items[:show]]
    rest = total - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def short(value: object) -> str:
    """A value as Python writes it, at most 60 characters of it: what was found, for error lines."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_found(record: Mapping[str, Any], name: str) -> str:
    """`"field 'image_id' is 'x'"` or `"... is missing"`: what a record has under a name, for error lines."""
    return f"field {name!r} is {short(record[name])}" if name in record else f"field {name!r} is missing"
