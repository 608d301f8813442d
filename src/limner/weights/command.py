"""`limner import`: published checkpoints become model packages."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.errors import UserError
from limner.weights.commands import bert, caffe, hu_vqa, ruotianluo, vilbert

KINDS = {"hu-vqa": hu_vqa, "ruotianluo": ruotianluo, "caffe-captioner": caffe, "vilbert": vilbert, "bert": bert}


def main(argv: list[str]) -> int:
    """`limner import KIND CHECKPOINT ... --to DIR`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner import",
        description="Turns a published checkpoint into a model package. Every name and shape is checked; nothing in a "
        "file is ever run.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, module in KINDS.items():
        one = kinds.add_parser(name, help=module.ABOUT, description=module.__doc__)
        module.arguments(one)
        one.add_argument(
            "--licence", metavar="TEXT", help="of the data it was trained on, for the model card (unknown)"
        )
        one.add_argument("--to", required=True, metavar="DIR", type=Path, help="folder of the package to make")
    options = parser.parse_args(argv)
    if options.to.exists():
        raise UserError(f"{options.to}: is there already; give another --to, or remove it")
    return KINDS[options.kind].run(options, options.to)
