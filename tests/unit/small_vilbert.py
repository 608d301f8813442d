"""A small random ViLBERT and batches for it: sequences of many lengths, images shared by several of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.models.vilbert import ViLBERT

SIZES: dict[str, Any] = {
    "words": 17,
    "feature_dim": 6,
    "region_classes": 5,
    "text_hidden": 8,
    "text_layers": 3,
    "text_heads": 2,
    "text_ffn": 12,
    "positions": 16,
    "image_hidden": 6,
    "image_layers": 2,
    "image_heads": 3,
    "image_ffn": 7,
    "joint_hidden": 4,
    "joint_heads": 2,
    "text_connections": [1, 2],
    "image_connections": [0, 1],
}
TEXT_ONLY = {"fusion": "text", "text_connections": [], "image_connections": []}
NO_DROPOUT = {f"dropout_{name}": 0.0 for name in ("text", "image", "text_attention", "image_attention", "fused")}


def model(*, seed: int = 0, **changes: Any) -> ViLBERT:
    """In float64, in evaluation mode, with weights large enough for attention to matter."""
    torch.manual_seed(seed)
    made = ViLBERT(**{**SIZES, **changes}).double().eval()
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.4)
    return made


def batch(lengths: tuple[int, ...] = (5, 3, 7, 5, 2), images: int = 3, *, gap: bool = True) -> dict[str, Tensor]:
    """Arguments of `ViLBERT.forward`; one token in the middle is masked (`gap`), one region of the last image too."""
    made = torch.Generator().manual_seed(1)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=made)

    n, longest = len(lengths), max(lengths) + 1
    text_mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    if gap:
        text_mask[lengths.index(max(lengths)), 1] = False
    mask = torch.ones(images, 4, dtype=torch.bool)
    mask[-1, -1] = False
    return {
        "tokens": integers(17, n, longest),
        "segments": integers(2, n, longest),
        "text_mask": text_mask,
        "feats": torch.randn(images, 4, 6, generator=made).double(),
        "boxes": torch.rand(images, 4, 5, generator=made).double(),
        "mask": mask,
        "image": integers(images, n),
    }


def text_of(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text alone."""
    return {name: given[name] for name in ("tokens", "segments", "text_mask")}
