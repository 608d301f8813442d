"""How a config dataclass says what a key means: `key(default, "one line")`; the checks and `limner ls` read it."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def key(
    default: Any,
    doc: str,
    *,
    path: bool = False,
    choices: tuple | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field with its one-line documentation.

    Args:
        default: the default; lists and dicts are copied for each instance.
        doc: what the key means, with its unit.
        path: the value names files that must exist before a run starts (a path, or lists and dicts of paths).
        choices: the values allowed.
        low, high: the smallest and the largest value allowed.
    """
    metadata = {"doc": doc, "path": path, "choices": choices, "low": low, "high": high}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def part(cls: type, doc: str) -> Any:
    """A field that is itself a config dataclass."""
    return field(default_factory=cls, metadata={"doc": doc, "path": False, "choices": None, "low": None, "high": None})


def documented(cls: type) -> dict[str, Any]:
    """Field name -> dataclass field, for every key of a config dataclass but `_target_` and its Hydra kin."""
    return {f.name: f for f in fields(cls) if not f.name.startswith("_")}
