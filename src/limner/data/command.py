"""`limner data`: data sets that limner makes itself in the formats of the real ones, and data sets of others."""

from __future__ import annotations

import importlib

from limner.errors import UserError

SETS = {
    "get": ("limner.fetch.command", "a published data set, verified and unpacked: limner data get vqa_v2"),
    "check": ("limner.data.check", "everything that is wrong with data of one's own, at once: limner data check DIR"),
    "init": ("limner.data.example", "a small example to copy: limner data init --task vqa|captions|visdial DIR"),
    "toy": ("limner.data.toy.build", "drawn scenes of coloured shapes: questions, captions, dialogs, regions"),
    "easy-vqa": ("limner.data.easy_vqa", "the pictures and questions of the PyPI package easy-vqa"),
    "coco-regions": ("limner.data.coco_regions", "captions of COCO images whose boxes and classes are in a file"),
}


def main(argv: list[str]) -> int:
    """`limner data NAME DIR [options]`; the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: limner data NAME ... [options]; limner data NAME --help says more\n")
        print("\n".join(f"  {name:<13} {about}" for name, (_, about) in SETS.items()))
        return 0
    if argv[0] not in SETS:
        raise UserError(f"data {argv[0]}: there is no such data set; there are {', '.join(SETS)}")
    return importlib.import_module(SETS[argv[0]][0]).main(argv[1:])
