"""The configs of ViLBERT: dataclass, YAML and constructor say the same, and each YAML builds."""

from __future__ import annotations

import inspect

import pytest
import torch
from omegaconf import OmegaConf

from limner.models.vilbert import ViLBERT
from limner.schema import visdial_model
from limner.visdial_optim import BertAdamW


def defaults(cls):
    """Arguments of a constructor that have defaults; lists for tuples, as YAML has them."""
    found = {p.name: p.default for p in inspect.signature(cls).parameters.values() if p.default is not p.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def keys(dataclass):
    return {name: value for name, value in vars(dataclass()).items() if not name.startswith("_")}


def test_dataclasses_are_the_constructors():
    of_data = {"feature_dim", "region_classes"}  # what the data say is no key
    assert keys(visdial_model.ViLBERT) == {k: v for k, v in defaults(ViLBERT).items() if k not in of_data}
    assert keys(visdial_model.BertAdamW) == defaults(BertAdamW)


@pytest.mark.parametrize("name", ["vilbert", "vilbert_tiny"])
def test_yaml(root, name):
    config = OmegaConf.to_container(OmegaConf.load(root / f"conf/model/{name}.yaml"))
    assert config.keys() == vars(visdial_model.ViLBERT()).keys()
    assert config.pop("_target_") == visdial_model.ViLBERT._target_
    if name == "vilbert":
        assert config == keys(visdial_model.ViLBERT)
    with torch.device("meta"):
        model = ViLBERT(words=100, feature_dim=7, region_classes=9, **config)
    assert len(model.encoder.path) == sum(
        len(getattr(model.encoder, f"{stream}_layers")) for stream in ("text", "image", "joint")
    )
