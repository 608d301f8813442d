"""A small trained-looking VQA package for tests: random weights, five words, four answers, six numbers a region."""

from __future__ import annotations

import torch

from limner.models.updown_vqa import UpDownVQA
from limner.weights.package import Package

WORDS = ["is", "it", "red", "what", "colour"]
ANSWERS = ["yes", "no", "red", "blue"]


def package(seed: int = 0, *, feature_dim: int = 6, softmax: bool = False, **options) -> Package:
    sizes = {"_target_": "limner.models.updown_vqa.UpDownVQA", "words": 5, "answers": 4, "feature_dim": feature_dim}
    sizes |= {"question_length": 14, "embed_dim": 3, "hidden": 4, "classifier_hidden": 4, **options}
    torch.manual_seed(seed)
    model = UpDownVQA(**{k: v for k, v in sizes.items() if k != "_target_"})
    for parameter in model.parameters():  # the default initial weights answer everything alike
        torch.nn.init.normal_(parameter, std=0.7)
    features = {"dim": feature_dim, "extractor": "test", "max_regions": None} if feature_dim else None
    meta = {"task": "vqa", "softmax": softmax, "features": features, "metrics": {"val/score": 50.0}}
    return Package(model=model.eval(), sizes=sizes, vocab={"words": WORDS, "answers": ANSWERS}, meta=meta)
