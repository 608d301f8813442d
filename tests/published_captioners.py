"""Small random checkpoints of captioners as published code saves them: ruotianluo's, and the paper's Caffe release."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from limner.weights import names
from limner.weights.importers import _shape

WORDS = ["a", "red", "dog", "cat", "on", "UNK"]
SIZES = {"rows": 7, "embed_dim": 4, "hidden": 3, "attention_hidden": 5, "feature_dim": 6, "global_dim": 6}
OPTIONS = {
    "caption_model": "updown",
    "rnn_size": 3,
    "input_encoding_size": 4,
    "att_hid_size": 5,
    "fc_feat_size": 6,
    "att_feat_size": 6,
    "vocab_size": 6,
    "use_bn": 0,
    "logit_layers": 1,
    "drop_prob_lm": 0.3,
    "max_length": 12,
    "input_fc_dir": "data/cocobu_fc",
    "seq_per_img": 5,
    "learning_rate": 5e-4,
}


def ruotianluo(batch_norm: str = "none", **sizes: int) -> dict[str, Tensor]:
    """A state dict by the names and shapes of its models `updown` and `topdown`."""
    made = torch.Generator().manual_seed(2)
    return {
        f"{prefix}.{leaf}": torch.rand(_shape(shape, SIZES | sizes) or (), generator=made)
        for prefix, entry in names.RT_CAPTIONER[batch_norm].items()
        for leaf, shape in entry.leaves.items()
    }


def infos(words: list[str] = WORDS, **options: Any) -> dict[str, Any]:
    """What its training pickles beside model.pth."""
    return {
        "iter": 3000,
        "epoch": 2,
        "loader_state_dict": {"train": {"index_list": np.arange(4), "iter_counter": 2}},
        "best_val_score": np.float64(1.07),
        "vocab": {str(number): word for number, word in enumerate(words, start=1)},
        "opt": argparse.Namespace(**(OPTIONS | options)),
    }


def write(
    folder: Path, *, batch_norm: str = "none", protocol: int = 2, words: list[str] = WORDS, **options: Any
) -> Path:
    """`model.pth` and `infos_ID.pkl`, which Python 3 pickles with protocol 2 there."""
    torch.save(ruotianluo(batch_norm), folder / "model.pth")
    (folder / "infos_ID.pkl").write_bytes(pickle.dumps(infos(words, **options), protocol))
    return folder


CAFFE_WORDS = [".", "<unk>", "a", "red", "dog", ",", "cat"]
ROWS, WORD, HIDDEN, ATTENTION, REGION = 7, 3, 4, 5, 6


def caffe(seed: int = 0, *, region: int = REGION) -> dict[str, list[np.ndarray]]:
    """Layer -> blobs, with the shapes of the release's prototxt."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "embedding": [(ROWS, WORD)],
        "lstm1": [(4 * HIDDEN, WORD + region + 2 * HIDDEN), (4 * HIDDEN,)],
        "fc": [(ATTENTION, region)],
        "hidden_att_0": [(ATTENTION, HIDDEN)],
        "predict_att_0": [(1, ATTENTION)],
        "lstm2": [(4 * HIDDEN, region + 2 * HIDDEN), (4 * HIDDEN,)],
        "predict": [(ROWS, HIDDEN), (ROWS,)],
    }
    return {layer: [rng.normal(size=s).astype(np.float32) for s in blobs] for layer, blobs in shapes.items()}


def write_caffe(folder: Path, blobs: dict[str, list[np.ndarray]] | None = None) -> Path:
    """`lstm.caffemodel.h5` in the layout of Caffe's snapshots, and `train_vocab.txt`."""
    with h5py.File(folder / "lstm.caffemodel.h5", "w") as file:
        for layer, given in (caffe() if blobs is None else blobs).items():
            group = file.create_group(f"data/{layer}")
            for number, blob in enumerate(given):
                group[str(number)] = blob
        for shared in ("lstm1_1", "concat_1", "data"):  # layers without blobs of their own
            file.create_group(f"data/{shared}")
    (folder / "train_vocab.txt").write_text("\n".join(CAFFE_WORDS) + "\n")
    return folder
