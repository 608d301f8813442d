"""Captioners of ImageCaptioning.pytorch (Ruotian Luo) into our state dicts.

There one id, 0, is start, end and padding, and words are 1..V; here words are 0..V-1, the end is V and the start V+1.
So row 0 of the embedding becomes the rows of end and start, and row 0 of the word layer the row of the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.errors import UserError, listing
from limner.models.captioner_regions import GEOMETRY
from limner.weights import names
from limner.weights.importers import convert, read_sizes, strip_prefix
from limner.weights.recognise import refuse_other

PICKLES = ("_vocab", "_opt")  # vocabulary and options, pickled into byte tensors by its Lightning trainer


class Layout(NamedTuple):
    """Sizes of a checkpoint, from its shapes: `rows` of words, its one sign included; `region_inputs`: numbers of a
    region, box geometry included; `batch_norm` by our name."""

    rows: int
    embed_dim: int
    hidden: int
    attention_hidden: int
    global_dim: int
    region_inputs: int
    batch_norm: str


def convert_rt_captioner(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of its model `updown` (or `topdown`, its other name) as a state dict of `UpDownCaptioner`.

    Build the model with `UpDownCaptioner(**rt_captioner_sizes(state))`. The prefix `module.` may be there or not.

    Raises:
        UserError: one line with every unknown name, every missing name and every wrong shape.
    """
    refuse_other(state, "ruotianluo")
    state, batch_norm = _known(state)
    sizes = read_sizes(state, _where(batch_norm))
    ours = convert(state, names.RT_CAPTIONER[batch_norm], sizes, "published Up-Down captioner")
    words = ours["words.weight"]
    ours["words.weight"] = torch.cat((words[1:], words[:1], words[:1]))
    for name in ("word_layer.weight", "word_layer.bias"):
        ours[name] = torch.cat((ours[name][1:], ours[name][:1]))
    return ours


def rt_layout(state: Mapping[str, Tensor]) -> Layout:
    """The sizes of a checkpoint. Raises `UserError` as `convert_rt_captioner`."""
    convert_rt_captioner(state)
    state, batch_norm = _known(state)
    sizes = read_sizes(state, _where(batch_norm))
    return Layout(batch_norm=batch_norm, region_inputs=sizes.pop("feature_dim"), **sizes)


def rt_pickles(state: Mapping[str, Tensor]) -> dict[str, bytes]:
    """What its Lightning trainer pickled into the state, as bytes: `_vocab`, `_opt`, where they are."""
    state = strip_prefix(state, "model.")
    return {name: bytes(state[name].to(torch.uint8).tolist()) for name in PICKLES if name in state}


def rt_captioner_sizes(
    state: Mapping[str, Tensor], *, global_source: str | None = None, geometry: bool = False
) -> dict[str, Any]:
    """The arguments of `UpDownCaptioner` for a checkpoint, from its shapes.

    Args:
        global_source: "given" or "mean"; a checkpoint does not say which of the two its global vectors (`fc`) were.
            None: "mean" if they have the size of a region, else "given".
        geometry: its option use_box: the last five inputs of a region are the geometry of its box.

    Raises:
        UserError: as `convert_rt_captioner`; global_source="mean" with vectors of another size than the regions.
    """
    layout = rt_layout(state)
    features = layout.region_inputs - GEOMETRY * geometry
    same = layout.global_dim == features
    source = global_source or ("mean" if same else "given")
    if source == "mean" and not same:
        raise UserError(
            f"global_source=mean: the checkpoint's global vectors have {layout.global_dim} numbers and its regions "
            f"{features}, so they were not their mean: say global_source=given"
        )
    return {
        "words": layout.rows - 1,
        "embed_dim": layout.embed_dim,
        "hidden": layout.hidden,
        "attention_hidden": layout.attention_hidden,
        "feature_dim": features,
        "global_dim": layout.global_dim if source == "given" else 0,
        "global_source": source,
        "batch_norm": layout.batch_norm,
        "geometry": geometry,
    }


def rt_words(ix_to_word: Mapping[str | int, str]) -> tuple[str, ...]:
    """The words of its `ix_to_word` (ids from 1, its UNK last) in our order, for `CaptionVocabulary`.

    Raises:
        UserError: ids that are not 1, 2, ... without a gap.
    """
    by_id = {int(number): word for number, word in ix_to_word.items()}
    gaps = [number for number in range(1, len(by_id) + 1) if number not in by_id]
    if gaps:
        raise UserError(f"ix_to_word: expected ids 1 to {len(by_id)}, missing {listing(gaps)}: copy the file again")
    return tuple("<unk>" if by_id[k] == "UNK" else by_id[k] for k in range(1, len(by_id) + 1))


def _known(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The state without its prefix and what is no weight, and which batch norm it has."""
    state = {name: value for name, value in strip_prefix(strip_prefix(state, "model.")).items() if name not in PICKLES}
    if "att_embed.4.weight" in state:
        return state, "both"
    return state, "before" if "att_embed.0.running_mean" in state else "none"


def _where(batch_norm: str) -> dict[str, tuple[str, int]]:
    layer = "att_embed.0" if batch_norm == "none" else "att_embed.1"
    return {**names.RT_CAPTIONER_SIZES, "feature_dim": (f"{layer}.weight", 1)}
