"""`limner load PACKAGE`: checks a model package whole, down to one prediction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.weights.package import Package

REGIONS = 3


def main(argv: list[str]) -> int:
    """`limner load PACKAGE ...`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner load",
        description="Checks model packages whole: files and their hashes, format, shapes, vocabulary, finite numbers, "
        "and one prediction about drawn regions.",
    )
    parser.add_argument("packages", nargs="+", metavar="PACKAGE", help="a package, or the run folder it lies in")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1 (cpu)")
    options = parser.parse_args(argv)

    from limner.predict import usable
    from limner.schema.check import package_of

    device = usable(options.device)
    for folder in options.packages:
        print(f"loads: {folder}: {verify(Path(package_of(folder)), device=device)}", flush=True)
    return 0


def verify(folder: Path, *, device: str = "cpu") -> str:
    """Checks a package; what was found, in words.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    from limner.weights import package
    from limner.weights.commands.checks import finite
    from limner.weights.manifest import WEIGHTS, read_manifest

    hashed = "hashes right" if read_manifest(folder).get("xxh3") else "format 1, which keeps no hashes"
    found = package.read(folder)
    finite(found.model.state_dict(), folder / WEIGHTS)
    done = tried(found, device)
    parameters = sum(p.numel() for p in found.model.parameters())
    words = ", ".join(f"{len(entries):,} {name.replace('_', ' ')}" for name, entries in found.vocab.items())
    kind = type(found.model).__name__
    return f"{kind}, {parameters:,} parameters, {words}; {hashed}, shapes fit, numbers are finite; {done}"


def tried(package: Package, device: str) -> str:
    """One prediction about drawn regions; what was done, in words."""
    import numpy as np

    from limner import inference

    features: Any = np.random.default_rng(0).random((REGIONS, int(package.sizes.get("feature_dim") or 1)), np.float32)
    return inference.module_for(package.meta.get("task")).trial(package, features, device=device)
