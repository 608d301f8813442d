"""What every import checks: errors name the file, numbers are finite, lists belong to the model."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limner.errors import UserError, listing

FEW = 20  # words that may stand in alphabetical order by chance


def about_import(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """What model.json says of every import: where the weights come from, and what nobody has measured here."""
    from limner import __version__
    from limner.weights.manifest import UNKNOWN

    return {
        "limner": __version__,
        "metrics": {},
        "licence": options.licence or UNKNOWN,
        "imported": {"from": kind, "file": options.checkpoint.name},
    }


def with_defaults(model: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a model's class: `sizes`, and its defaults, which may be others one day."""
    told = {name: one.default for name, one in inspect.signature(type(model)).parameters.items()}
    return {name: sizes.get(name, default) for name, default in told.items()}


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Puts the file in front of what is wrong with its content."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def finite(state: Mapping[str, Any], path: Path) -> None:
    """Refuses tensors with NaN or infinite numbers."""
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{path}: {listing(broken)} holds NaN or infinite numbers; take an earlier checkpoint")


def as_many(found: int, expected: int, what: str, source: object, checkpoint: Path) -> None:
    """Refuses a vocabulary that has not as many entries as the checkpoint has rows."""
    if found != expected:
        rows = f"{expected:,}, as {checkpoint} has"
        raise UserError(f"{source}: {found:,} {what}, expected {rows}: they belong to two models")


def note_sorted(words: Sequence[str], source: object) -> None:
    """A warning when words stand in alphabetical order, as no published list's do."""
    if len(words) > FEW and list(words) == sorted(words):
        print(
            f"warning: {source}: its words stand in alphabetical order, which is not how the published code numbers "
            "them: a list made anew would give each word the vector of another",
            file=sys.stderr,
        )
