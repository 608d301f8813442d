"""Name tables: how published checkpoints call the parameters of our models.

A table maps each prefix of a checkpoint to ours and lists the parameters under it with their shapes; the leaf names
are the same on both sides. `importers.convert` needs nothing else, so one more kind of checkpoint is one more table.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """`ours`: our prefix; `leaves`: leaf name -> shape, as sizes ("3*hidden", "feature_dim+hidden", "1")."""

    ours: str
    leaves: dict[str, tuple[str, ...]]


def _normed(outputs: str, inputs: str) -> dict[str, tuple[str, ...]]:
    return {"bias": (outputs,), "weight_g": (), "weight_v": (outputs, inputs)}


_HU_COMMON = {
    "w_emb.emb": Entry("question.words", {"weight": ("rows", "embed_dim")}),
    "q_emb.rnn": Entry(
        "question.rnn",
        {
            "weight_ih_l0": ("3*hidden", "embed_dim"),
            "weight_hh_l0": ("3*hidden", "hidden"),
            "bias_ih_l0": ("3*hidden",),
            "bias_hh_l0": ("3*hidden",),
        },
    ),
    "v_att.linear": Entry("attention.score", _normed("1", "hidden")),
    "q_net.main.0": Entry("question_net.linear", _normed("hidden", "hidden")),
    "v_net.main.0": Entry("region_net.linear", _normed("hidden", "feature_dim")),
    "classifier.main.0": Entry("classifier.hidden.linear", _normed("classifier_hidden", "hidden")),
    "classifier.main.3": Entry("classifier.output", _normed("answers", "classifier_hidden")),
}

# bottom-up-attention-vqa by Hengyuan Hu and others: its model `baseline0_newatt` ...
HU_VQA_PRODUCT = _HU_COMMON | {
    "v_att.v_proj.main.0": Entry("attention.region.linear", _normed("hidden", "feature_dim")),
    "v_att.q_proj.main.0": Entry("attention.question.linear", _normed("hidden", "hidden")),
}

# ... and its model `baseline0`
HU_VQA_CONCAT = _HU_COMMON | {
    "v_att.nonlinear.main.0": Entry("attention.joint", _normed("hidden", "feature_dim+hidden")),
}

# where each size of the two models above is read: (foreign name, axis)
HU_VQA_SIZES = {
    "rows": ("w_emb.emb.weight", 0),
    "embed_dim": ("w_emb.emb.weight", 1),
    "hidden": ("q_emb.rnn.weight_hh_l0", 1),
    "feature_dim": ("v_net.main.0.weight_v", 1),
    "classifier_hidden": ("classifier.main.0.weight_v", 0),
    "answers": ("classifier.main.3.weight_v", 0),
}


def _lstm(inputs: str) -> dict[str, tuple[str, ...]]:
    gates = "4*hidden"
    return {
        "weight_ih": (gates, inputs),
        "weight_hh": (gates, "hidden"),
        "bias_ih": (gates,),
        "bias_hh": (gates,),
    }


def _linear(outputs: str, inputs: str) -> dict[str, tuple[str, ...]]:
    return {"weight": (outputs, inputs), "bias": (outputs,)}


def _batch_norm(size: str) -> dict[str, tuple[str, ...]]:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {**dict.fromkeys(vectors, (size,)), "num_batches_tracked": ()}


# ImageCaptioning.pytorch by Ruotian Luo: its models `updown` and `topdown`. Rows of words: see caption_importer
_RT_COMMON = {
    "embed.0": Entry("words", {"weight": ("rows", "embed_dim")}),
    "fc_embed.0": Entry("global_net.linear", _linear("hidden", "global_dim")),
    "ctx2att": Entry("attention.region", _linear("attention_hidden", "hidden")),
    "core.attention.h2att": Entry("attention.query", _linear("attention_hidden", "hidden")),
    "core.attention.alpha_net": Entry("attention.score", _linear("1", "attention_hidden")),
    # its columns stand in our order: the language LSTM's state, the global vector, the word
    "core.att_lstm": Entry("attention_lstm", _lstm("2*hidden+embed_dim")),
    "core.lang_lstm": Entry("language_lstm", _lstm("2*hidden")),  # the pooled regions, the attention LSTM's state
    "logit": Entry("word_layer", _linear("rows", "hidden")),
}

# by its option use_bn: 0, 1 or 2
RT_CAPTIONER = {
    "none": _RT_COMMON | {"att_embed.0": Entry("region_net.linear", _linear("hidden", "feature_dim"))},
    "before": _RT_COMMON
    | {
        "att_embed.0": Entry("region_net.norm_before", _batch_norm("feature_dim")),
        "att_embed.1": Entry("region_net.linear", _linear("hidden", "feature_dim")),
    },
}
RT_CAPTIONER["both"] = RT_CAPTIONER["before"] | {
    "att_embed.4": Entry("region_net.norm_after", _batch_norm("hidden")),
}

RT_CAPTIONER_SIZES = {
    "rows": ("embed.0.weight", 0),
    "embed_dim": ("embed.0.weight", 1),
    "hidden": ("core.lang_lstm.weight_hh", 1),
    "attention_hidden": ("ctx2att.weight", 0),
    "global_dim": ("fc_embed.0.weight", 1),
}
