"""Small random checkpoints as visdial-bert, vilbert_beta and transformers save them, with a vocabulary that fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.data.wordpiece import SIGNS
from limner.models.vilbert import ViLBERT
from limner.weights.vilbert_importer import export_vilbert

WORDS = [*SIGNS, "a", "the", "red", "big", "dog", "cat", "is", "it", "there", "yes", "no", "two"]
SIZES: dict[str, Any] = {
    "words": 17,
    "feature_dim": 6,
    "region_classes": 5,
    "text_hidden": 8,
    "text_layers": 3,
    "text_heads": 2,
    "text_ffn": 12,
    "positions": 64,
    "image_hidden": 6,
    "image_layers": 2,
    "image_heads": 3,
    "image_ffn": 7,
    "joint_hidden": 16,
    "joint_heads": 2,
    "text_connections": [1, 2],
    "image_connections": [0, 1],
}
CONFIG: dict[str, Any] = {
    "hidden_act": "gelu",
    "num_attention_heads": 2,
    "v_num_attention_heads": 3,
    "bi_num_attention_heads": 2,
    "t_biattention_id": [1, 2],
    "v_biattention_id": [0, 1],
}
CHOSEN = ["text_heads=2", "image_heads=3", "joint_heads=2", "text_connections=[1,2]", "image_connections=[0,1]"]
UNREAD = ("embeddings.sep_embeddings.weight", "encoder.c_layer.0.biOutput.q_dense2.bias")


def model(*, seed: int = 0, **changes: Any) -> ViLBERT:
    """With weights large enough for attention to matter, in evaluation mode."""
    torch.manual_seed(seed)
    made = ViLBERT(**{**SIZES, **changes}).eval()
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.4)
    return made


def state(prefix: str = "bert_pretrained.", **changes: Any) -> dict[str, Tensor]:
    """Under published names; with what the published code saves and never reads."""
    found = {
        name: tensor.clone() for name, tensor in export_vilbert(model(**changes).state_dict(), prefix=prefix).items()
    }
    return found | {f"{prefix}bert.{name}": torch.zeros(1) for name in UNREAD}


def bert_state(**changes: Any) -> dict[str, Tensor]:
    """The text stream alone, as BertForPreTraining saves it."""
    parts = ("bert.embeddings.", "bert.encoder.layer.", "cls.predictions.")
    found = {name: tensor for name, tensor in state("", **changes).items() if name.startswith(parts)}
    del found["bert.embeddings.sep_embeddings.weight"]
    more = {"bert.pooler.dense.weight": torch.zeros(1), "cls.seq_relationship.bias": torch.zeros(2)}
    return {**found, **more, "bert.embeddings.position_ids": torch.arange(3)[None]}


def old_names(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the first releases called LayerNorm's two."""
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in found.items()
    }


def write(folder: Path) -> Path:
    """`basemodel` (with its optimiser), `pytorch_model.bin`, `vocab.txt` and `config.json`."""
    torch.save({"model_state_dict": state(), "optimizer_state_dict": {"state": {}}, "iter_id": 7}, folder / "basemodel")
    torch.save(bert_state(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder
