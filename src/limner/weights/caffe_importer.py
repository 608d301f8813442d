"""The Up-Down captioner's Caffe release into our state dict: blobs of an HDF5 snapshot, `data/LAYER/NUMBER`.

There one id, 0, is start and end (the line "." of its vocabulary) and words are 1..V; here words are 0..V-1, the end is
V and the start V+1. Its LSTM has one matrix for inputs and state, the state's columns last, and gates in the order
input, forget, output, candidate; torch has two matrices, two biases, and input, forget, candidate, output.

    LSTM1 reads [word; global; h2; h1]    ours [h2; global; word] and h1
    LSTM2 reads [h1; pooled; h2]          ours [pooled; h1] and h2
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.errors import UserError, listing
from limner.models.captioner_options import PAPER
from limner.weights.importers import convert, read_sizes
from limner.weights.names import Entry

PACKED = 16  # no weights are compressed further
END = "."  # line 0 of its vocabulary: start and end

TABLE = {
    "embedding": Entry("words", {"0": ("rows", "embed_dim")}),
    "lstm1": Entry("lstm1", {"0": ("4*hidden", "embed_dim+feature_dim+2*hidden"), "1": ("4*hidden",)}),
    "fc": Entry("region", {"0": ("attention_hidden", "feature_dim")}),
    "hidden_att_0": Entry("query", {"0": ("attention_hidden", "hidden")}),
    "predict_att_0": Entry("score", {"0": ("1", "attention_hidden")}),
    "lstm2": Entry("lstm2", {"0": ("4*hidden", "feature_dim+2*hidden"), "1": ("4*hidden",)}),
    "predict": Entry("word_layer", {"0": ("rows", "hidden"), "1": ("rows",)}),
}

SIZES = {
    "rows": ("embedding.0", 0),
    "embed_dim": ("embedding.0", 1),
    "hidden": ("hidden_att_0.0", 1),
    "attention_hidden": ("hidden_att_0.0", 0),
    "feature_dim": ("fc.0", 1),
}


def read_blobs(path: Path) -> dict[str, Tensor]:
    """The blobs of a snapshot by `LAYER.NUMBER`, float32; layers without any are passed over.

    Raises:
        UserError: the file is missing, no HDF5 file, damaged, or has no blobs.
    """
    import h5py

    if not path.is_file():
        raise UserError(f"{path}: no such file: give the path of a snapshot (.caffemodel.h5)")
    if not h5py.is_hdf5(path):
        raise UserError(
            f"{path}: is no HDF5 file; the release's weights end with .caffemodel.h5, and Caffe writes others so with "
            "snapshot_format: HDF5"
        )
    try:
        with h5py.File(path, "r") as file:
            layers = file.get("data")
            found = {}
            for layer, blobs in layers.items() if isinstance(layers, h5py.Group) else ():
                for number, blob in blobs.items() if isinstance(blobs, h5py.Group) else ():
                    if isinstance(blob, h5py.Dataset) and blob.dtype.kind == "f":
                        if blob.nbytes > PACKED * path.stat().st_size:
                            raise ValueError(f"data/{layer}/{number} promises more numbers than the file can hold")
                        found[f"{layer}.{number}"] = torch.from_numpy(blob[()]).float()
            inside = list(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy it again") from None
    if not found:
        raise UserError(f"{path}: has no blobs under data/LAYER/NUMBER, found {listing(inside) or 'nothing'}")
    return found


def convert_caffe_captioner(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The blobs as a state dict of `UpDownCaptioner`; build it with `UpDownCaptioner(**caffe_captioner_sizes(blobs))`.

    Raises:
        UserError: one line with every unknown name, every missing name and every wrong shape.
    """
    blobs = plain(blobs)
    sizes = read_sizes(blobs, SIZES)
    found = convert(blobs, TABLE, sizes, "Caffe Up-Down captioner")
    rows, hidden, words, seen = found["words.0"], sizes["hidden"], sizes["embed_dim"], sizes["feature_dim"]
    word, vector, h2, h1 = found["lstm1.0"].split((words, seen, hidden, hidden), dim=1)
    below, pooled, state = found["lstm2.0"].split((hidden, seen, hidden), dim=1)
    return {
        "words.weight": torch.cat((rows[1:], rows[:1], rows[:1])),
        "attention.region.weight": found["region.0"],
        "attention.query.weight": found["query.0"],
        "attention.score.weight": found["score.0"],
        "attention_lstm.weight_ih": gates(torch.cat((h2, vector, word), dim=1)),
        "attention_lstm.weight_hh": gates(h1),
        "attention_lstm.bias_ih": gates(found["lstm1.1"]),
        "attention_lstm.bias_hh": torch.zeros(4 * hidden),
        "language_lstm.weight_ih": gates(torch.cat((pooled, below), dim=1)),
        "language_lstm.weight_hh": gates(state),
        "language_lstm.bias_ih": gates(found["lstm2.1"]),
        "language_lstm.bias_hh": torch.zeros(4 * hidden),
        "word_layer.weight": torch.cat((found["word_layer.0"][1:], found["word_layer.0"][:1])),
        "word_layer.bias": torch.cat((found["word_layer.1"][1:], found["word_layer.1"][:1])),
    }


def caffe_captioner_sizes(blobs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `UpDownCaptioner` for the blobs, from their shapes: the paper's model.

    Raises:
        UserError: as `convert_caffe_captioner`.
    """
    convert_caffe_captioner(blobs)
    sizes = read_sizes(plain(blobs), SIZES)
    return {"words": sizes.pop("rows") - 1, **sizes, **PAPER}


def plain(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blobs without the dimensions of 1 that Caffe puts before biases and vectors."""
    found = {}
    for name, blob in blobs.items():
        wanted = 1 if re.search(r"\.1$", name) else 2
        while blob.dim() > wanted and blob.shape[0] == 1:
            blob = blob[0]
        found[name] = blob
    return found


def gates(matrix: Tensor) -> Tensor:
    """Rows of input, forget, output, candidate in torch's order: input, forget, candidate, output."""
    i, f, o, g = matrix.chunk(4)
    return torch.cat((i, f, g, o))


def caffe_words(path: Path) -> tuple[str, ...]:
    """The words of its vocabulary file, a line each, without line 0, for `CaptionVocabulary`.

    Raises:
        UserError: the file is missing, no text, or does not begin with "." and "<unk>" as the release's does.
    """
    from limner.data.caption_words import UNKNOWN

    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")  # splitlines() would split inside of words
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give the release's train_vocab.txt") from None
    if lines[:2] != [END, UNKNOWN]:
        raise UserError(
            f"{path}: begins with {listing(map(repr, lines[:2]))}, expected '{END}' (start and end) and "
            f"'{UNKNOWN}': give the release's train_vocab.txt, in its order"
        )
    return tuple(lines[1:])
