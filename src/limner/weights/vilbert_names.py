"""Name tables of ViLBERT: vilbert_beta's names, which visdial-bert has with `bert_pretrained.` before each."""

from __future__ import annotations

from collections.abc import Iterator

from limner.weights.bert_names import (
    BERT_CONFIG,
    BERT_SIZES,
    BERT_UNUSED,
    Row,
    linear,
    norm,
    self_layer,
    text_stream,
    words_head,
)

PREFIX = "bert_pretrained."  # visdial-bert's


def rows(text_layers: int, image_layers: int, joint_layers: int) -> Iterator[Row]:
    """Every tensor that both sides have."""
    yield from text_stream(text_layers)
    yield from linear("bert.v_embeddings.image_embeddings", "image_embedding.features", "image_hidden", "feature_dim")
    yield from linear("bert.v_embeddings.image_location_embeddings", "image_embedding.boxes", "image_hidden", 5)
    yield from norm("bert.v_embeddings.LayerNorm", "image_embedding.norm", "image_hidden")
    for k in range(image_layers):
        theirs, ours = f"bert.encoder.v_layer.{k}", f"encoder.image_layers.{k}"
        yield from self_layer(theirs, ours, "image_hidden", "image_ffn")
    for k in range(joint_layers):
        yield from joint_layer(f"bert.encoder.c_layer.{k}", f"encoder.joint_layers.{k}")
    for theirs, ours in (("t", "text"), ("v", "image")):
        yield from linear(f"bert.{theirs}_pooler.dense", f"alignment_head.{ours}_pooler", "joint", f"{ours}_hidden")
    yield from linear("cls.bi_seq_relationship", "alignment_head.output", 2, "joint")
    yield from words_head()
    head = "cls.imagePredictions"
    yield from linear(f"{head}.transform.dense", "regions_head.dense", "image_hidden", "image_hidden")
    yield from norm(f"{head}.transform.LayerNorm", "regions_head.norm", "image_hidden")
    yield from linear(f"{head}.decoder", "regions_head.output", "region_classes", "image_hidden")


def joint_layer(theirs: str, ours: str) -> Iterator[Row]:
    """A co-attention layer: their 1 is the image, their 2 the text."""
    for number, short, stream in ((1, "v", "image"), (2, "t", "text")):
        size, ffn, after = f"{stream}_hidden", f"{stream}_ffn", f"{ours}.{stream}_after"
        for third, name in enumerate(("query", "key", "value")):
            yield from linear(f"{theirs}.biattention.{name}{number}", f"{ours}.{stream}_qkv", "joint", size, third)
        yield from linear(f"{theirs}.biOutput.dense{number}", f"{after}.dense", size, "joint")
        yield from norm(f"{theirs}.biOutput.LayerNorm{number}", f"{after}.norm1", size)
        yield from linear(f"{theirs}.{short}_intermediate.dense", f"{after}.up", ffn, size)
        yield from linear(f"{theirs}.{short}_output.dense", f"{after}.down", size, ffn)
        yield from norm(f"{theirs}.{short}_output.LayerNorm", f"{after}.norm2", size)


# what published files hold and the published forward pass never reads, or what belongs to other tasks
UNUSED = (
    *BERT_UNUSED,
    "bert.embeddings.token_type_embeddings_extension.",  # segments from 2 on; there are 0 and 1 only
    "bert.embeddings.sep_embeddings.",
    "vil_prediction.",  # the heads of vilbert_beta's tasks
    "vil_logit.",
    "vision_logit.",
    "linguisic_logit.",
)
UNUSED_IN_LAYERS = (".biOutput.q_dense1.", ".biOutput.q_dense2.")

SIZES = {
    **BERT_SIZES,
    "image_hidden": ("bert.v_embeddings.image_embeddings.weight", 0),
    "feature_dim": ("bert.v_embeddings.image_embeddings.weight", 1),
    "image_ffn": ("bert.encoder.v_layer.0.intermediate.dense.weight", 0),
    "joint": ("bert.t_pooler.dense.weight", 0),
    "region_classes": ("cls.imagePredictions.decoder.weight", 0),
}

# published configuration -> our arguments: what cannot be read from shapes
CONFIG = {
    **BERT_CONFIG,
    "v_num_attention_heads": "image_heads",
    "bi_num_attention_heads": "joint_heads",
    "t_biattention_id": "text_connections",
    "v_biattention_id": "image_connections",
    "fusion_method": "fusion",
    "v_hidden_dropout_prob": "dropout_image",
    "v_attention_probs_dropout_prob": "dropout_image_attention",
}

# our arguments that no shape tells
FREE = (*CONFIG.values(), "dropout_fused", "checkpointing")
