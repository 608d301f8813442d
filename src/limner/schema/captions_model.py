"""Config of the Up-Down captioner."""

from __future__ import annotations

from dataclasses import dataclass

from limner.schema.keys import key


@dataclass
class UpDownCaptioner:
    _target_: str = "limner.models.updown_captioner.UpDownCaptioner"
    embed_dim: int = key(1000, "size of a word vector", low=1)
    hidden: int = key(1000, "size of both LSTMs", low=1)
    attention_hidden: int = key(512, "size of the attention's hidden layer", low=1)
    regions: str = key("embedded", "regions and the global vector pass a layer with ReLU; raw: as they are (paper)",
                       choices=("embedded", "raw"))  # fmt: skip
    attention_bias: bool = key(True, "biases in the attention (paper: none)")
    word_relu: bool = key(True, "ReLU after the word embedding (paper: none)")
    global_source: str = key("mean", "the image's global vector: mean of its regions, or given with them",
                             choices=("mean", "given"))  # fmt: skip
    global_dim: int = key(0, "size of a given global vector", low=0)
    batch_norm: str = key("none", "of regions: before their layer, or on both sides of it",
                          choices=("none", "before", "both"))  # fmt: skip
    geometry: bool = key(False, "append corners and area of its box, as shares of the image, to each region")
    init: str = key("torch", "initial weights: torch's, or N(0, 0.01) with forget biases of 1 (the paper's release)",
                    choices=("torch", "release"))  # fmt: skip
    dropout_words: float = key(0.5, "dropout on word vectors", low=0, high=0.99)
    dropout_global: float = key(0.5, "dropout on the embedded global vector", low=0, high=0.99)
    dropout_regions: float = key(0.5, "dropout on embedded regions", low=0, high=0.99)
    dropout_output: float = key(0.5, "dropout before the word layer", low=0, high=0.99)
