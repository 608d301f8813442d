"""`limner info PACKAGE`: what a model package is, from its small files and the table of its weights. No torch."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from limner.errors import UserError, listing
from limner.weights import card
from limner.weights.manifest import WEIGHTS, read_manifest, read_vocab

WIDTH = 12  # of the names before what is told


class Stored(NamedTuple):
    """A tensor in the file: its shape, and its type as safetensors calls it (F32)."""

    shape: tuple[int, ...]
    kind: str

    @property
    def numbers(self) -> int:
        """How many."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def main(argv: list[str]) -> int:
    """`limner info PACKAGE ...`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner info",
        description="What model packages are: sizes, vocabulary, the features they want, metrics, training, licence.",
    )
    parser.add_argument("packages", nargs="+", metavar="PACKAGE", help="a package, or the run folder it lies in")
    options = parser.parse_args(argv)

    from limner.schema.check import package_of

    for folder in options.packages:
        print("\n".join(describe(Path(package_of(folder)))))
    return 0


def describe(folder: Path) -> Iterator[str]:
    """The lines of `limner info`.

    Raises:
        UserError: the folder is no package, or a file is missing or damaged.
    """
    meta, vocab, weights = read_manifest(folder), read_vocab(folder), stored(folder)
    sizes = dict(meta["model"])
    kind = str(sizes.pop("_target_", "unknown")).rpartition(".")[2]
    made = f", limner {meta['limner']}" if meta.get("limner") else ""
    yield f"{folder}: {kind} for the task {meta.get('task')} (format {meta.get('format')}{made})"
    total = sum(tensor.numbers for tensor in weights.values())
    types = ", ".join(sorted({tensor.kind for tensor in weights.values()}))
    size = (folder / WEIGHTS).stat().st_size / 1e6
    yield told("weights", f"{total:,} numbers in {len(weights):,} tensors ({types}), {size:,.1f} MB")
    yield told("parts", ", ".join(f"{name} {count:,}" for name, count in parts(weights).items()))
    yield told("sizes", " ".join(f"{name}={value}".replace(", ", ",") for name, value in sizes.items()))
    for name, entries in vocab.items():
        yield told(name.replace("_", " "), f"{len(entries):,}: {listing(map(repr, entries[:5]), len(entries))}")
    yield told("features", card.regions(meta.get("features")))
    for name in ("signature", "decode"):
        if meta.get(name):
            yield told(name, meta[name])
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in sorted((meta.get("metrics") or {}).items()))
    yield told("metrics", metrics or "none")
    if meta.get("measured"):
        yield told("measured", meta["measured"])
    for line in card.trained(meta.get("config") or {}):
        yield told("trained", line.removeprefix("- "))
    if meta.get("imported"):
        yield told("imported", f"from {meta['imported']['from']}, file {meta['imported']['file']}")
    yield told("licence", f"of the training data: {card.licence(meta)}")


def told(name: str, value: Any) -> str:
    """A line: a name, and what is told of it."""
    return f"  {name:<{WIDTH}} {value}"


def stored(folder: Path) -> dict[str, Stored]:
    """Name -> shape and type of every tensor, from the head of the file."""
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return {name: Stored(tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the package again") from None


def parts(weights: dict[str, Stored]) -> dict[str, int]:
    """Numbers in each part of the model, the largest first."""
    counts: Counter[str] = Counter()
    for name, tensor in weights.items():
        counts[name.partition(".")[0]] += tensor.numbers
    return dict(counts.most_common())
