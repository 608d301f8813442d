"""Checkpoints of captioners for the commands of docs/packages.md: small, with random weights, for the toy's regions."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

import published_captioners as published
from limner.data.features.together import open_stores

WORDS = ["a", "red", "circle", "square", "and", "UNK"]


def write(folder: Path, features: Path) -> None:
    """`updown/model.pth` with its infos, `caffe/lstm.caffemodel.h5` with its vocabulary."""
    dim = open_stores([str(features)]).dim
    for name in ("updown", "caffe"):
        (folder / name).mkdir()
    torch.save(published.ruotianluo(feature_dim=dim, global_dim=dim), folder / "updown/model.pth")
    infos = published.infos(WORDS, fc_feat_size=dim, att_feat_size=dim)
    (folder / "updown/infos_updown.pkl").write_bytes(pickle.dumps(infos, 2))
    published.write_caffe(folder / "caffe", published.caffe(region=dim))
