"""A small random checkpoint of bottom-up-attention-vqa, as that code saves it, and its pickled word lists."""

from __future__ import annotations

import torch

from limner.weights import importers, names

WORDS = ["is", "it", "red", "what", "colour", "'s", "café"]
ANSWERS = ["yes", "no", "red", "", "2"]
SIZES = {"rows": len(WORDS) + 1, "embed_dim": 5, "hidden": 4, "feature_dim": 6, "classifier_hidden": 7, "answers": 5}
TABLES = {"concat": names.HU_VQA_CONCAT, "product": names.HU_VQA_PRODUCT}


def checkpoint(kind: str) -> dict[str, torch.Tensor]:
    """Names and shapes as published; DataParallel puts `module.` in front."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"module.{prefix}.{leaf}": torch.randn(importers._shape(shape, SIZES) or (), generator=generator)
        for prefix, entry in TABLES[kind].items()
        for leaf, shape in entry.leaves.items()
    }


def python2(value) -> bytes:
    """What cPickle of Python 2 wrote with protocol 0 for lists, dicts, numbers, str and unicode."""
    return _opcodes(value) + b"."


def _opcodes(value) -> bytes:
    if isinstance(value, list):
        return b"(l" + b"".join(_opcodes(entry) + b"a" for entry in value)
    if isinstance(value, dict):
        return b"(d" + b"".join(_opcodes(key) + _opcodes(entry) + b"s" for key, entry in value.items())
    if isinstance(value, int):
        return b"I%d\n" % value
    if value.isascii():
        return b"S" + repr(value).encode() + b"\n"
    return b"V" + value.encode("raw_unicode_escape") + b"\n"
