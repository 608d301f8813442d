"""`limner remap PACKAGE --vocab FILE --to DIR`: a package with the words or answers of another vocabulary."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.errors import UserError


def main(argv: list[str]) -> int:
    """`limner remap PACKAGE --vocab FILE --to DIR`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner remap",
        description="Gives a model package other words or answers. Rows of shared ones go along, so that for them "
        "nothing changes; those of new ones are drawn, to be trained.",
    )
    parser.add_argument("package", metavar="PACKAGE", help="a package, or the run folder it lies in")
    parser.add_argument(
        "--vocab", required=True, metavar="FILE", type=Path, help="vocab.json, the package it is of, or a list of words"
    )
    parser.add_argument("--to", required=True, metavar="DIR", type=Path, help="folder of the package to make")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is drawn (1)")
    options = parser.parse_args(argv)
    if options.to.exists():
        raise UserError(f"{options.to}: is there already; give another --to, or remove it")

    import torch

    from limner.schema.check import package_of
    from limner.weights import package
    from limner.weights.commands.checks import naming
    from limner.weights.remap import remap
    from limner.weights.verify import tried

    vocab = wanted(options.vocab)
    given = package.read(package_of(options.package))
    with naming(options.vocab), torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        made, changed = remap(given, vocab)
        tried(made, "cpu")  # a vocabulary without the task's signs is refused before anything is written
    made.meta["remapped"] = {"from": Path(options.package).name, "changes": changed, "seed": options.seed}
    package.save(options.to, made)
    print(f"{options.to}: {'; '.join(changed) or 'the vocabulary is the same'}")
    return 0


def wanted(path: Path) -> dict[str, Any]:
    """The lists of a vocabulary file, or of a package; a bare list is one of words."""
    from limner.schema.check import package_of
    from limner.weights.manifest import VOCAB, read_json, read_vocab

    if path.is_dir():
        return read_vocab(Path(package_of(str(path))))
    if path.name == VOCAB:
        return read_vocab(path.parent)
    found = read_json(path)
    found = {"words": found} if isinstance(found, list) else found
    lists = found.values() if isinstance(found, dict) else [found]
    if not found or not all(isinstance(words, list) and all(isinstance(w, str) for w in words) for words in lists):
        raise UserError(f'{path}: expected a list of words, or lists by name: {{"words": [...], "answers": [...]}}')
    return found
