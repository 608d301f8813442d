"""ViLBERT and BERT checkpoints into the state dict of `limner.models.vilbert.ViLBERT`, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import UserError, listing
from limner.weights import bert_names, vilbert_names
from limner.weights.bert_names import Row
from limner.weights.importers import read_sizes, strip_prefix
from limner.weights.recognise import refuse_other

SHOWN = 20  # names of each kind in an error line; a base model has 535
INSIDE = "model_state_dict"  # the key in visdial-bert's files, for `importers.read_checkpoint`


class Imported(NamedTuple):
    """`weights`: a state dict of ours, whole or of the text stream; `unused`: their names that nothing reads."""

    weights: dict[str, Tensor]
    unused: list[str]


def convert_vilbert(state: Mapping[str, Tensor]) -> Imported:
    """A checkpoint of visdial-bert or vilbert_beta as a state dict of `ViLBERT`.

    Build the model with `ViLBERT(**vilbert_sizes(state))`. The prefixes `module.` and `bert_pretrained.` may be there
    or not. Heads of vilbert_beta's other tasks, and what the published forward pass never reads, are left out.

    Raises:
        UserError: one line with every unknown name, every missing name, every wrong shape and every broken tie.
    """
    refuse_other(state, "vilbert")
    state = _plain(state)
    rows = list(vilbert_names.rows(*_layers(state)))
    sizes = read_sizes(state, vilbert_names.SIZES)
    return _convert(state, rows, sizes, "ViLBERT", vilbert_names.UNUSED, vilbert_names.UNUSED_IN_LAYERS)


def vilbert_sizes(state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of `ViLBERT` for a checkpoint, from its shapes.

    Args:
        state: as for `convert_vilbert`.
        config: the published configuration, for what shapes do not tell: heads, connections, fusion, dropout. None:
            what all published models have: heads of 64 in the text and 128 elsewhere, the last text layers and the
            first image layers connected, fusion by product.

    Raises:
        UserError: as `convert_vilbert`; a configuration with another activation than GELU.
    """
    convert_vilbert(state)
    state = _plain(state)
    text, image, joint = _layers(state)
    sizes: dict[str, Any] = read_sizes(state, vilbert_names.SIZES)
    sizes["joint_hidden"] = sizes.pop("joint")
    sizes |= {"text_layers": text, "image_layers": image, "image_heads": _heads(sizes["image_hidden"], 128)}
    sizes |= {"text_heads": _heads(sizes["text_hidden"], 64), "joint_heads": _heads(sizes["joint_hidden"], 128)}
    sizes |= {"text_connections": list(range(text - joint, text)), "image_connections": list(range(joint))}
    return sizes | _configured(config or {}, vilbert_names.CONFIG)


def convert_bert(state: Mapping[str, Tensor]) -> Imported:
    """A BERT checkpoint (transformers' names, old or new) as weights of the text stream and, if it has one, the words
    head of `ViLBERT`; `bert_sizes` are the arguments that must fit, `start_from_bert` puts them in.

    Raises:
        UserError: as `convert_vilbert`.
    """
    refuse_other(state, "bert")
    state = _plain(state)
    head = list(bert_names.words_head()) if any(name.startswith("cls.predictions.") for name in state) else []
    rows = [*bert_names.text_stream(_layers(state)[0]), *head]
    sizes = read_sizes(state, bert_names.BERT_SIZES)
    return _convert(state, rows, sizes, "BERT", bert_names.BERT_UNUSED, ())


def bert_sizes(state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of `ViLBERT` that a BERT checkpoint decides.

    Args:
        state: as for `convert_bert`.
        config: transformers' configuration, for heads and dropout. None: heads of 64, as in all published models.

    Raises:
        UserError: as `convert_bert`; a configuration with another activation than GELU.
    """
    convert_bert(state)
    state = _plain(state)
    sizes = read_sizes(state, bert_names.BERT_SIZES)
    found = {**sizes, "text_layers": _layers(state)[0], "text_heads": _heads(sizes["text_hidden"], 64)}
    return found | _configured(config or {}, bert_names.BERT_CONFIG)


def start_from_bert(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Puts a BERT checkpoint into the text stream of a `ViLBERT`.

    Returns:
        Our names that keep their values: the image stream, co-attention, other heads.

    Raises:
        UserError: as `convert_bert`; weights that do not fit the model's sizes.
    """
    weights = convert_bert(state).weights
    mine = model.state_dict()
    wrong = [name for name in weights if name not in mine or mine[name].shape != weights[name].shape]
    behind = [name for name in mine if name.startswith("encoder.text_layers.") and name not in weights]
    if wrong or behind:
        told = ", ".join(f"{key}={value}" for key, value in bert_sizes(state).items())
        raise UserError(f"BERT does not fit the model ({listing(wrong + behind)} differ): set {told}")
    model.load_state_dict(weights, strict=False)
    return [name for name in mine if name not in weights]


def export_vilbert(weights: Mapping[str, Tensor], *, prefix: str = vilbert_names.PREFIX) -> dict[str, Tensor]:
    """A state dict of `ViLBERT`, or its gradients, under visdial-bert's names (or vilbert_beta's, with prefix="").

    Tensors that the published forward pass never reads are not made up; the published code loads what is there.
    """
    counts = [
        len({name.split(".")[2] for name in weights if name.startswith(f"encoder.{stream}_layers.")})
        for stream in ("text", "image", "joint")
    ]
    found = {}
    for row in vilbert_names.rows(*counts):
        if row.ours in weights:
            tensor = weights[row.ours]
            found[prefix + row.theirs] = tensor if row.third is None else tensor.chunk(3)[row.third]
    for copy, source in bert_names.COPIES.items():
        if copy.endswith("weight") and prefix + source in found:
            found[prefix + copy] = found[prefix + source]
    return found


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under vilbert_beta's names: prefixes off, BERT's added where bare, gamma and beta renamed."""
    state = strip_prefix(strip_prefix(state), vilbert_names.PREFIX)
    if not any(name.startswith("bert.") for name in state):
        state = {name if name.startswith("cls.") else f"bert.{name}": value for name, value in state.items()}
    endings = {".gamma": ".weight", ".beta": ".bias"}
    return {re.sub(r"(?<=LayerNorm)(\.gamma|\.beta)$", lambda m: endings[m[0]], k): v for k, v in state.items()}


def _layers(state: Iterable[str]) -> tuple[int, int, int]:
    """How many layers of text, image and co-attention there are."""
    counts = {"layer": 0, "v_layer": 0, "c_layer": 0}
    for name in state:
        if found := re.match(r"bert\.encoder\.(layer|v_layer|c_layer)\.(\d+)\.", name):
            counts[found[1]] = max(counts[found[1]], int(found[2]) + 1)
    return counts["layer"], counts["v_layer"], counts["c_layer"]


def _configured(config: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """What a published configuration says that shapes do not, by our names."""
    for key in ("hidden_act", "v_hidden_act"):
        if config.get(key, "gelu") != "gelu":
            raise UserError(f"configuration: {key}={config[key]!r}, expected gelu: no published model has another")
    return {ours: config[theirs] for theirs, ours in table.items() if theirs in config}


def _heads(size: int, each: int) -> int:
    return max(size // each, 1)


def _convert(
    state: Mapping[str, Tensor],
    rows: list[Row],
    sizes: Mapping[str, int],
    kind: str,
    unused: tuple[str, ...],
    unused_inside: tuple[str, ...],
) -> Imported:
    known = {row.theirs for row in rows}
    if not known & state.keys():
        raise UserError(f"not a {kind} checkpoint: none of its {len(state):,} names is known: {listing(state)}")
    rest = [name for name in state if name not in known and name not in bert_names.COPIES]
    left = [name for name in rest if name.startswith(unused) or any(part in name for part in unused_inside)]
    problems = {
        "missing": [row.theirs for row in rows if row.theirs not in state],
        "unknown": sorted(set(rest) - set(left)),
        "wrong shape": [],
        "not the same, which is tied here": [
            f"{copy} and {source}"
            for copy, source in bert_names.COPIES.items()
            if copy in state and source in state and not _same(state[copy], state[source])
        ],
    }
    parts: dict[str, list[Tensor]] = {}
    for row in rows:
        if row.theirs not in state:
            continue
        tensor = state[row.theirs].detach()
        shape = [sizes.get(size) if isinstance(size, str) else size for size in row.shape]
        if None not in shape and list(tensor.shape) != shape:
            problems["wrong shape"].append(f"{row.theirs} is {list(tensor.shape)}, expected {shape}")
        parts.setdefault(row.ours, []).append(tensor)
    found = "; ".join(f"{what}: {listing(names, show=SHOWN)}" for what, names in problems.items() if names)
    if found:
        raise UserError(f"not a {kind} checkpoint: {found}")
    return Imported({name: torch.cat(each) if len(each) > 1 else each[0].clone() for name, each in parts.items()}, left)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.is_meta or b.is_meta or a.data_ptr() == b.data_ptr() or torch.equal(a, b)
