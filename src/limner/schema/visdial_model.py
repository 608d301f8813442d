"""Config of ViLBERT and of how it is finetuned on visual dialog."""

from __future__ import annotations

from dataclasses import dataclass

from limner.schema.keys import key


@dataclass
class ViLBERT:
    _target_: str = "limner.models.vilbert.ViLBERT"
    text_hidden: int = key(768, "size of the text stream", low=1)
    text_layers: int = key(12, "layers of the text stream", low=1)
    text_heads: int = key(12, "attention heads of a text layer", low=1)
    text_ffn: int = key(3072, "size of the feed-forward part of a text layer", low=1)
    positions: int = key(512, "the most tokens a sequence can have", low=1)
    segments: int = key(2, "segment ids: questions are 0, caption and answers 1", low=1)
    image_hidden: int = key(1024, "size of the image stream", low=1)
    image_layers: int = key(6, "layers of the image stream", low=1)
    image_heads: int = key(8, "attention heads of an image layer", low=1)
    image_ffn: int = key(1024, "size of the feed-forward part of an image layer", low=1)
    joint_hidden: int = key(1024, "size of co-attention and of the pooled streams", low=1)
    joint_heads: int = key(8, "heads of co-attention", low=1)
    text_connections: list[int] = key([6, 7, 8, 9, 10, 11], "text layers that come before each co-attention layer")
    image_connections: list[int] = key([0, 1, 2, 3, 4, 5], "image layers that come before each co-attention layer")
    fusion: str = key("mul", "pooled streams: product, sum, or the text alone (language-only baseline: connections "
                      "[])", choices=("mul", "sum", "text"))  # fmt: skip
    dropout_text: float = key(0.1, "dropout on the text embedding and on sums in the text stream", low=0, high=0.99)
    dropout_image: float = key(0.1, "dropout on the image embedding and on sums in the image stream", low=0, high=0.99)
    dropout_text_attention: float = key(0.1, "dropout on attention weights over tokens", low=0, high=0.99)
    dropout_image_attention: float = key(0.1, "dropout on attention weights over regions", low=0, high=0.99)
    dropout_fused: float = key(0.1, "dropout on the fused streams, before the alignment's layer", low=0, high=0.99)
    checkpointing: bool = key(False, "train in a fraction of the memory: layers are computed again in the backward "
                              "pass, a third more work")  # fmt: skip
    init_std: float = key(0.02, "spread of the weights a training begins with (published: 0.02, for a size of 768); "
                          "small models learn faster with 1 / sqrt(size)", low=1e-6)  # fmt: skip


@dataclass
class BertAdamW:
    _target_: str = "limner.visdial_optim.BertAdamW"
    _partial_: bool = True
    lr: float = key(2e-5, "learning rate", low=0)
    betas: list[float] = key([0.9, 0.999], "decay rates of the moments")
    eps: float = key(1e-6, "added to the second moment's root before its bias is corrected", low=0)
    weight_decay: float = key(0.01, "weight decay, after the update", low=0)
