"""What every import checks: errors name the file, numbers are finite, lists belong to the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limner.errors import UserError, listing


@contextmanager
def naming(path: Path) -> Iterator[None]:
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
