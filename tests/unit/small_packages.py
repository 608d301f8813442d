"""Small packages of a captioner and of a model for visual dialog, with random weights, for tests."""

from __future__ import annotations

from typing import Any

import torch
from tiny_visdial import WORDS as DIALOG_WORDS

from limner.data.wordpiece import SIGNS
from limner.models.updown_captioner import UpDownCaptioner
from limner.models.vilbert import ViLBERT
from limner.weights.package import Package

WORDS = ["<unk>", "a", "red", "circle", "blue", "square"]


def captioner(seed: int = 0, words=WORDS, **options) -> Package:
    torch.manual_seed(seed)
    sizes = {"words": len(words), "feature_dim": 6, "embed_dim": 4, "hidden": 5, "attention_hidden": 4, **options}
    model = UpDownCaptioner(**sizes).eval()
    with torch.no_grad():
        model.word_layer.weight.mul_(8)  # so that captions differ between images
    features = {"dim": 6, "max_regions": None, "extractor": "unknown", "provenance": {}}
    target = {"_target_": "limner.models.updown_captioner.UpDownCaptioner", **sizes}
    meta = {"task": "captioning", "features": features, "signature": "cross-entropy"}
    return Package(model=model, sizes=target, vocab={"words": list(words)}, meta=meta)


def dialogs(seed: int = 0, *, task: str = "visdial", text: dict | None = None, **options) -> Package:
    torch.manual_seed(seed)
    words = [*SIGNS, *DIALOG_WORDS]
    sizes: dict[str, Any] = {"words": len(words), "feature_dim": 6, "region_classes": 6, "positions": 64}
    sizes |= {"joint_hidden": 8, "joint_heads": 2, "text_connections": [1], "image_connections": [1], **options}
    for name in ("text", "image"):
        sizes |= {f"{name}_hidden": 8, f"{name}_layers": 2, f"{name}_heads": 2, f"{name}_ffn": 12}
    model = ViLBERT(**sizes).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    features = {"dim": 6, "max_regions": None, "extractor": "test", "provenance": {}}
    meta = {"task": task, "features": None if options.get("fusion") == "text" else features}
    meta |= {"text": {"lowercase": True, "max_length": 64, "history": None, **(text or {})}}
    target = {"_target_": "limner.models.vilbert.ViLBERT", **sizes}
    return Package(model=model, sizes=target, vocab={"words": words}, meta=meta)
