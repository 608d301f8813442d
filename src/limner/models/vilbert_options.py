"""The options of ViLBERT: what may be chosen, what fits together, and the published sizes."""

from __future__ import annotations

from typing import Any

from limner.errors import UserError

FUSIONS = ("mul", "sum", "text")

SIZES = ("words", "text_hidden", "text_layers", "text_heads", "text_ffn", "positions", "segments", "joint_hidden")
IMAGE_SIZES = ("feature_dim", "region_classes", "image_hidden", "image_layers", "image_heads", "image_ffn",
               "joint_heads")  # fmt: skip
DROPOUTS = ("dropout_text", "dropout_image", "dropout_text_attention", "dropout_image_attention", "dropout_fused")
DIVIDED = (("text_hidden", "text_heads"), ("image_hidden", "image_heads"), ("joint_hidden", "joint_heads"))


def check(options: dict[str, Any]) -> None:
    """Raise ONE error that names every option that cannot be."""
    with_image = options["fusion"] != "text"
    wrong = []
    if options["fusion"] not in FUSIONS:
        wrong.append(f"fusion={options['fusion']!r} (choose one of {', '.join(FUSIONS)})")
    sizes = SIZES + (IMAGE_SIZES if with_image else ())
    small = [key for key in sizes if not options[key] >= 1]
    wrong += [f"{key}={options[key]!r} (must be 1 or more)" for key in small]
    for key in DROPOUTS:
        if not 0 <= options[key] < 1:
            wrong.append(f"{key}={options[key]!r} (must be at least 0 and less than 1)")
    if not options["init_std"] > 0:
        wrong.append(f"init_std={options['init_std']!r} (must be more than 0)")
    for size, heads in DIVIDED if with_image else DIVIDED[:1]:
        if not {size, heads} & set(small) and options[size] % options[heads]:
            wrong.append(f"{heads}={options[heads]} ({size}={options[size]} is not a multiple of it)")
    wrong += _connections(options, with_image)
    if wrong:
        raise UserError(f"model: {'; '.join(wrong)}")


def _connections(options: dict[str, Any], with_image: bool) -> list[str]:
    text, image = list(options["text_connections"]), list(options["image_connections"])
    if not with_image:
        return [f"text_connections={text} (fusion=text has no image stream: set [])"] if text or image else []
    wrong = []
    if len(text) != len(image):
        wrong.append(f"text_connections has {len(text)} entries and image_connections {len(image)} (must be as many)")
    for stream, found in (("text", text), ("image", image)):
        layers = options[f"{stream}_layers"]
        if found != sorted(found) or any(not 0 <= k <= layers for k in found):
            wrong.append(f"{stream}_connections={found} (must rise, from 0 to {stream}_layers={layers} at most)")
    return wrong
