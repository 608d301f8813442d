"""`limner import bert`: BERT's weights become the text stream of a ViLBERT; the rest is drawn, to be trained."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.errors import UserError, listing
from limner.weights.commands import dialogs
from limner.weights.commands.checks import finite, naming

ABOUT = "BERT of transformers (model.safetensors, pytorch_model.bin, or the folder) into the text stream of ViLBERT"
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
CONNECTIONS = 6  # published: co-attention layers


def arguments(parser: argparse.ArgumentParser) -> None:
    dialogs.arguments(parser)
    parser.add_argument("--feature-dim", type=int, default=2048, metavar="N", help="numbers of a region (2048)")
    parser.add_argument("--region-classes", type=int, default=1601, metavar="N", help="classes of a region (1601)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is drawn (1)")


def run(options: argparse.Namespace, folder: Path) -> int:
    """Makes the package; the exit code."""
    import torch

    from limner.models.vilbert import ViLBERT
    from limner.weights import vilbert_importer as importer
    from limner.weights.importers import read_checkpoint

    checkpoint = options.checkpoint = file_of(options.checkpoint)
    config, given = dialogs.configuration(options.config), dialogs.model_keys(options.model)
    state = read_checkpoint(checkpoint)
    with naming(checkpoint):
        told = importer.bert_sizes(state, config)
        imported = importer.convert_bert(state)
    finite(imported.weights, checkpoint)
    dialogs.agree(given, told, checkpoint)
    sizes = dialogs.defaults() | told | connected(told["text_layers"], given) | given
    sizes |= {"feature_dim": options.feature_dim, "region_classes": options.region_classes}
    words = dialogs.read_words(options, sizes["words"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = ViLBERT(**sizes)
    parts = ", ".join(sorted({part(name) for name in importer.start_from_bert(model, state)}))
    drawn = f"drawn with seed {options.seed}, to be trained: {parts}"
    signature = f"text stream of {checkpoint.name}; {drawn}"
    dialogs.save(folder, model, sizes, words, options, "BERT", signature)
    print(f"{dialogs.describe(folder, model, sizes)}\n{drawn}")
    return 0


def connected(layers: int, given: Mapping[str, Any]) -> dict[str, list[int]]:
    """As published: the last text layers and the first image layers, six at most; none where only text is read."""
    count = 0 if given.get("fusion") == "text" else min(CONNECTIONS, layers, given.get("image_layers", CONNECTIONS))
    return {"text_connections": list(range(layers - count, layers)), "image_connections": list(range(count))}


def file_of(checkpoint: Path) -> Path:
    """The weights in a folder as transformers saves it; a file is taken as it is."""
    if not checkpoint.is_dir():
        return checkpoint
    found = [checkpoint / name for name in FILES if (checkpoint / name).is_file()]
    if not found:
        raise UserError(f"{checkpoint}: has none of {listing(FILES)}; give the checkpoint's file")
    return found[0]


def part(name: str) -> str:
    """The part of the model that a parameter belongs to."""
    return ".".join(name.split(".")[: 2 if name.startswith("encoder.") else 1])
