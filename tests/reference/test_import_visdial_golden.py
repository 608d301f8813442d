"""The published code's small models through `limner import vilbert`: the package computes what that code computed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from limner.data.wordpiece import SIGNS
from limner.weights import package
from limner.weights.command import main

PREFIX = "bert_pretrained."


def bare(state, path):
    torch.save(state, path)


def with_its_optimiser(state, path):
    """As visdial-bert's train.py saves it."""
    more = {
        "optimizer_state_dict": {"state": {0: {"step": 3}}},
        "scheduler_state_dict": {"last_epoch": 3},
        "iter_id": 3,
    }
    torch.save({"model_state_dict": state, **more}, path)


def of_vilbert_beta(state, path):
    """Without what visdial-bert added, and under DataParallel."""
    added = ("token_type_embeddings_extension", "sep_embeddings")
    plain = {name.removeprefix(PREFIX): t for name, t in state.items() if not any(part in name for part in added)}
    torch.save({f"module.{name}": tensor for name, tensor in plain.items()}, path)


def safe(state, path):
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)


@pytest.mark.parametrize("name", ["a", "c_sum_mse"])
@pytest.mark.parametrize("form", [bare, with_its_optimiser, of_vilbert_beta, safe])
def test_the_package_computes_what_the_published_code_did(shared, tmp_path, name, form):
    folder = shared / "golden/visdial"
    with np.load(folder / f"tiny_vilbert_dialog_{name}.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    path = tmp_path / ("model.safetensors" if form is safe else "basemodel")
    form({key[3:]: value for key, value in data.items() if key.startswith("sd/")}, path)
    (tmp_path / "vocab.txt").write_text("\n".join([*SIGNS, *(f"w{k}" for k in range(45))]))
    config = json.loads((folder / f"tiny_vilbert_dialog_{name}.json").read_text())["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = ["--vocab", str(tmp_path / "vocab.txt"), "--config", str(tmp_path / "config.json")]
    assert main(["vilbert", str(path), *given, "--to", str(tmp_path / "package")]) == 0
    made = package.read(tmp_path / "package")
    assert made.sizes["fusion"] == config.get("fusion_method", "mul")
    mask = data["in/image_mask"].bool()
    images = data["in/image_feat"], data["in/image_loc"], mask
    at = data["out32/attention_mask"].bool()
    with torch.no_grad():
        out = made.model(data["in/tokens"], data["in/segments"], at, *images, words_at=at, regions_at=mask)
    for found, expected in (
        (out.alignment, data["out32/seq_relationship_score"]),
        (out.words, data["out32/prediction_scores_t"][at]),
        (out.regions, data["out32/prediction_scores_v"][mask]),
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
