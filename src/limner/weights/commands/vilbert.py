"""`limner import vilbert`: a checkpoint of visdial-bert or vilbert_beta becomes a package for visual dialog."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.errors import UserError, listing
from limner.weights.commands import dialogs
from limner.weights.commands.checks import finite, naming

ABOUT = "visdial-bert's basemodel, basemodel_dense, vqa_pretrained_weights; Conceptual Captions files of vilbert_beta"
arguments = dialogs.arguments


def run(options: argparse.Namespace, folder: Path) -> int:
    """Makes the package; the exit code."""
    from limner.models.vilbert import ViLBERT
    from limner.weights import vilbert_importer as importer
    from limner.weights.importers import read_checkpoint

    checkpoint, config = options.checkpoint, dialogs.configuration(options.config)
    given = dialogs.model_keys(options.model)
    if given.get("fusion") == "text":
        raise UserError("--model fusion=text: the checkpoint has an image stream; expected mul or sum")
    state = read_checkpoint(checkpoint, inside=importer.INSIDE)
    with naming(checkpoint):
        imported = importer.convert_vilbert(state)
        told = importer.vilbert_sizes(state, config)
    finite(imported.weights, checkpoint)
    dialogs.agree(given, told, checkpoint)
    sizes = dialogs.defaults() | told | given
    words = dialogs.read_words(options, sizes["words"])
    model = ViLBERT(**sizes)
    model.load_state_dict(imported.weights)
    dialogs.save(folder, model, sizes, words, options, "ViLBERT", f"imported from {checkpoint.name}")
    print(dialogs.describe(folder, model, sizes))
    if imported.unused:
        print(f"left out, since visual dialog never reads it: {listing(imported.unused)}")
    return 0
