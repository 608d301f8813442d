"""infos_ID.pkl of ImageCaptioning.pytorch: its vocabulary, and its options compared with the checkpoint's shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from limner.errors import UserError
from limner.models.captioner_regions import GEOMETRY
from limner.weights.caption_importer import Layout

MAX_LENGTH = 20  # tokens of a caption, as its options say by default
MODELS = ("updown", "topdown")
BATCH_NORM = {"none": 0, "before": 1, "both": 2}
MEANS = re.compile(r"bu_fc/?$")  # cocobu_fc: the folder its script fills with the means of regions


class Infos(NamedTuple):
    """`words`: its ix_to_word, id as text -> word. `opt`: its options by name; {} when nothing tells them."""

    words: Mapping[str, str]
    opt: Mapping[str, Any]


class Settings(NamedTuple):
    """What options tell of a model. `dropout`: arguments of `UpDownCaptioner`. `global_source`: None when they do not
    say; `unsure`: why the default is taken then, "" when sizes or options decide."""

    geometry: bool
    global_source: str | None
    unsure: str
    dropout: dict[str, float]
    max_length: int


def from_table(table: Any) -> Infos:
    """The infos in what a .pkl or .json file holds: infos_ID.pkl, cocotalk.json, or the bare ix_to_word.

    Raises:
        UserError: there is no vocabulary.
    """
    table = table if isinstance(table, Mapping) else {}
    words = table.get("vocab") or table.get("ix_to_word") or table
    opt = table.get("opt") or {}
    if not words or not all(str(number).isdigit() and isinstance(word, str) for number, word in words.items()):
        raise UserError('has no vocabulary: expected {"vocab": {"1": "a", "2": ...}}, or the same as "ix_to_word"')
    if not isinstance(opt, Mapping):
        raise UserError(f"opt holds a {type(opt).__name__}, expected options by name")
    return Infos({str(number): word for number, word in words.items()}, opt)


def settings(opt: Mapping[str, Any], layout: Layout) -> Settings:
    """What the options say that shapes do not.

    Args:
        opt: options by name; those that are missing are as published.
        layout: the sizes of the checkpoint.

    Raises:
        UserError: one line with every option that limner's model does not have, and every one that the shapes deny.
    """
    geometry = bool(opt.get("use_box", 0))
    wrong = _unknown_to_us(opt) + _denied(opt, layout, GEOMETRY * geometry)
    if wrong:
        raise UserError("; ".join(wrong))
    source, unsure = _global_source(opt, layout, GEOMETRY * geometry)
    drop = float(opt.get("drop_prob_lm", 0.5))
    names = ("words", "global", "regions", "output")
    length = int(opt.get("max_length") or MAX_LENGTH)
    return Settings(geometry, source, unsure, {f"dropout_{name}": drop for name in names}, length)


def _unknown_to_us(opt: Mapping[str, Any]) -> list[str]:
    """Options that change the arithmetic in ways that no argument of our model does."""
    wrong = []
    kind = opt.get("caption_model", "updown")
    if kind not in MODELS:
        wrong.append(f"caption_model={kind}: limner has {' and '.join(MODELS)}")
    if opt.get("logit_layers", 1) != 1:
        wrong.append(f"logit_layers={opt['logit_layers']}: expected 1, the word layer is one layer here")
    needed = {"norm_att_feat": True, "norm_box_feat": bool(opt.get("use_box", 0))}
    for name, matters in needed.items():
        if matters and opt.get(name, 0):
            wrong.append(f"{name}={opt[name]}: expected 0, features are not scaled here: scale them before")
    return wrong


def _denied(opt: Mapping[str, Any], layout: Layout, boxes: int) -> list[str]:
    """Options that are not those of the checkpoint's shapes."""
    told = {
        "rnn_size": layout.hidden,
        "input_encoding_size": layout.embed_dim,
        "att_hid_size": layout.attention_hidden,
        "fc_feat_size": layout.global_dim,
        "vocab_size": layout.rows - 1,
        "use_bn": BATCH_NORM[layout.batch_norm],
    }
    wrong = [
        f"{name}={opt[name]}, but the checkpoint has {size}"
        for name, size in told.items()
        if opt.get(name, size) != size
    ]
    seen = layout.region_inputs
    if opt.get("att_feat_size", seen) not in (seen, seen - boxes):
        wrong.append(f"att_feat_size={opt['att_feat_size']}, but the checkpoint has {seen}")
    return wrong


def _global_source(opt: Mapping[str, Any], layout: Layout, boxes: int) -> tuple[str | None, str]:
    if layout.global_dim != layout.region_inputs - boxes:
        return "given", ""
    folder = opt.get("input_fc_dir")
    if isinstance(folder, str) and MEANS.search(folder):
        return "mean", ""
    return None, f"input_fc_dir={folder}" if folder else "the infos do not say"
