"""`limner import caffe-captioner`: the weights of the Up-Down captioner's original release."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.weights.commands import captions
from limner.weights.commands.checks import as_many, finite, naming, note_sorted

ABOUT = "the Up-Down captioner's original Caffe release: its .caffemodel.h5 and train_vocab.txt"
DECODE = {"no_repeat": True, "once_only": True}  # its beam search's rules: the config group's decode=updown_release


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="WEIGHTS.caffemodel.h5", type=Path)
    parser.add_argument(
        "--vocab", required=True, metavar="train_vocab.txt", type=Path, help="words, one a line, in the release's order"
    )


def run(options: argparse.Namespace, folder: Path) -> int:
    """Makes the package; the exit code."""
    from limner.data.caption_words import CaptionVocabulary
    from limner.models.updown_captioner import UpDownCaptioner
    from limner.weights import caffe_importer as importer

    checkpoint = options.checkpoint
    blobs = importer.read_blobs(checkpoint)
    with naming(checkpoint):
        sizes = importer.caffe_captioner_sizes(blobs)
        weights = importer.convert_caffe_captioner(blobs)
    finite(weights, checkpoint)
    words = importer.caffe_words(options.vocab)
    as_many(len(words) + 1, sizes["words"] + 1, "lines", options.vocab, checkpoint)
    with naming(options.vocab):
        CaptionVocabulary(words)
    note_sorted(words, options.vocab)
    model = UpDownCaptioner(**sizes)
    model.load_state_dict(weights)
    captions.save(folder, model, sizes, words, options, kind="the paper's Caffe release", decode=DECODE)
    print(captions.describe(folder, model, sizes))
    return 0
