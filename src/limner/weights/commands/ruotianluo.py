"""`limner import ruotianluo`: an Up-Down captioner of ImageCaptioning.pytorch (self-critical.pytorch)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.errors import UserError
from limner.weights.commands import captions
from limner.weights.commands.checks import as_many, finite, naming, note_sorted

ABOUT = "captioners of ImageCaptioning.pytorch, its models updown and topdown: model.pth and infos_ID.pkl"
NOT_SAID = "model.pth says neither words nor options: give --infos infos_ID.pkl, or --vocab cocotalk.json"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="model.pth", type=Path)
    parser.add_argument(
        "--infos", metavar="infos_ID.pkl", type=Path, help="vocabulary and options, as its training saved them"
    )
    parser.add_argument(
        "--vocab", metavar="FILE", type=Path, help="without infos: cocotalk.json, or any JSON with its ix_to_word"
    )
    parser.add_argument(
        "--global-source",
        choices=("mean", "given"),
        help="the global vectors (fc) were the mean of the regions, or given with them; default: what infos and sizes "
        "tell",
    )


def run(options: argparse.Namespace, folder: Path) -> int:
    """Makes the package; the exit code."""
    from limner.data.caption_words import CaptionVocabulary
    from limner.models.updown_captioner import UpDownCaptioner
    from limner.weights import caption_importer as importer
    from limner.weights import rt_infos
    from limner.weights.importers import read_checkpoint

    checkpoint = options.checkpoint
    state = read_checkpoint(checkpoint, inside="state_dict")
    with naming(checkpoint):
        read = importer.rt_layout(state)
    infos, source = found_infos(options, state)
    with naming(source):
        told = rt_infos.settings(infos.opt, read)
        words = importer.rt_words(infos.words)
        CaptionVocabulary(words)
    as_many(len(words), read.rows - 1, "words", source, checkpoint)
    note_sorted(words, source)
    with naming(checkpoint):
        chosen = options.global_source or told.global_source
        sizes = importer.rt_captioner_sizes(state, global_source=chosen, geometry=told.geometry) | told.dropout
        weights = importer.convert_rt_captioner(state)
    finite(weights, checkpoint)
    model = UpDownCaptioner(**sizes)
    model.load_state_dict(weights)
    decode = {"max_length": told.max_length}
    captions.save(folder, model, sizes, words, options, kind="ImageCaptioning.pytorch", decode=decode)
    print(captions.describe(folder, model, sizes))
    if told.unsure and options.global_source is None and sizes["global_source"] == "mean":
        print(
            f"note: the global vectors are taken for the mean of the regions ({told.unsure}); if they were others, "
            "such as ResNet's, import again with --global-source given",
            file=sys.stderr,
        )
    return 0


def found_infos(options: argparse.Namespace, state: Mapping[str, Any]) -> tuple[Any, object]:
    """Vocabulary and options, and the file that they are from.

    Raises:
        UserError: there are none, or the file holds something else.
    """
    from limner.data.pickles import load_table, read_pickle
    from limner.weights import caption_importer as importer
    from limner.weights import rt_infos

    if options.infos is not None and options.vocab is not None:
        raise UserError("--infos and --vocab: both were given; the infos have the vocabulary: leave --vocab out")
    path = options.infos or options.vocab
    if path is not None:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; {NOT_SAID}")
        with naming(path):
            return rt_infos.from_table(load_table(path)), path
    hidden = importer.rt_pickles(state)
    if "_vocab" not in hidden:
        raise UserError(f"{options.checkpoint}: {NOT_SAID}")
    tables = {name[1:]: read_pickle(data, f"{options.checkpoint}, {name}") for name, data in hidden.items()}
    with naming(options.checkpoint):
        return rt_infos.from_table(tables), options.checkpoint
