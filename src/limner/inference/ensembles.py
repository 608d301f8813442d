"""What packages must have in common to work together, whatever their task."""

from __future__ import annotations

from collections.abc import Sequence

from limner.errors import UserError
from limner.weights.package import Package


def refuse_other_features(packages: Sequence[Package]) -> None:
    """Refuses packages that were trained on different features; an unknown extractor (imported weights) fits any.

    Raises:
        UserError: the first package that differs from an earlier one, and in what.
    """
    known: dict[str, object] = {}
    for number, package in enumerate(packages, start=1):
        rule = package.meta.get("features") or {}
        for name in ("dim", "extractor", "max_regions"):
            value = rule.get(name)
            if name == "extractor" and value == "unknown":
                continue
            if known.setdefault(name, value) != value:
                raise UserError(f"model: package {number} was trained on other features ({name}) than package 1")
