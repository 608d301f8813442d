"""Name tables: how BERT (and with it the text stream of ViLBERT) calls the parameters of our model.

A row is one of their tensors. Their queries, keys and values are thirds of one of our matrices, so a row may say which
third it is. Shapes are sizes by name or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

Shape = tuple[str | int, ...]


class Row(NamedTuple):
    """`theirs`, `ours`: names; `shape`: of theirs; `third`: which third of our rows it is, None: all of ours."""

    theirs: str
    ours: str
    shape: Shape
    third: int | None = None


def linear(theirs: str, ours: str, outputs: str | int, inputs: str | int, third: int | None = None) -> Iterator[Row]:
    """Weight and bias of a linear layer."""
    yield Row(f"{theirs}.weight", f"{ours}.weight", (outputs, inputs), third)
    yield Row(f"{theirs}.bias", f"{ours}.bias", (outputs,), third)


def norm(theirs: str, ours: str, size: str) -> Iterator[Row]:
    """Weight and bias of a LayerNorm."""
    yield Row(f"{theirs}.weight", f"{ours}.weight", (size,))
    yield Row(f"{theirs}.bias", f"{ours}.bias", (size,))


def self_layer(theirs: str, ours: str, size: str, ffn: str) -> Iterator[Row]:
    """A BERT layer of either stream."""
    for third, name in enumerate(("query", "key", "value")):
        yield from linear(f"{theirs}.attention.self.{name}", f"{ours}.qkv", size, size, third)
    yield from linear(f"{theirs}.attention.output.dense", f"{ours}.after.dense", size, size)
    yield from norm(f"{theirs}.attention.output.LayerNorm", f"{ours}.after.norm1", size)
    yield from linear(f"{theirs}.intermediate.dense", f"{ours}.after.up", ffn, size)
    yield from linear(f"{theirs}.output.dense", f"{ours}.after.down", size, ffn)
    yield from norm(f"{theirs}.output.LayerNorm", f"{ours}.after.norm2", size)


def text_stream(layers: int) -> Iterator[Row]:
    """Embeddings and layers of BERT."""
    rows = {"words": ("word", "words"), "positions": ("position", "positions"), "segments": ("token_type", "segments")}
    for ours, (theirs, size) in rows.items():
        name = f"bert.embeddings.{theirs}_embeddings.weight"
        yield Row(name, f"text_embedding.{ours}.weight", (size, "text_hidden"))
    yield from norm("bert.embeddings.LayerNorm", "text_embedding.norm", "text_hidden")
    for k in range(layers):
        theirs, ours = f"bert.encoder.layer.{k}", f"encoder.text_layers.{k}"
        yield from self_layer(theirs, ours, "text_hidden", "text_ffn")


def words_head() -> Iterator[Row]:
    """BERT's masked-word head, but for the matrix that it shares with the embedding."""
    yield Row("cls.predictions.bias", "words_head.bias", ("words",))
    yield from linear("cls.predictions.transform.dense", "words_head.dense", "text_hidden", "text_hidden")
    yield from norm("cls.predictions.transform.LayerNorm", "words_head.norm", "text_hidden")


# copies that some versions save: of which tensor
COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}

# parts of BERT that ViLBERT does without, as prefixes
BERT_UNUSED = ("bert.embeddings.position_ids", "bert.pooler.", "cls.seq_relationship.")

# where each size is read: (their name, axis)
BERT_SIZES = {
    "words": ("bert.embeddings.word_embeddings.weight", 0),
    "text_hidden": ("bert.embeddings.word_embeddings.weight", 1),
    "positions": ("bert.embeddings.position_embeddings.weight", 0),
    "segments": ("bert.embeddings.token_type_embeddings.weight", 0),
    "text_ffn": ("bert.encoder.layer.0.intermediate.dense.weight", 0),
}

# transformers' configuration -> our arguments: what cannot be read from shapes
BERT_CONFIG = {
    "num_attention_heads": "text_heads",
    "hidden_dropout_prob": "dropout_text",
    "attention_probs_dropout_prob": "dropout_text_attention",
}
