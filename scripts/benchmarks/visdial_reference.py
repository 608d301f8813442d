"""The straightforward ViLBERT of visual dialog: what the published code computes, as it computes it.

The yardstick of `visdial.py`. Every sequence is padded to 256 tokens and brings its own copy of its image; queries,
keys and values have a layer each; attention makes all weights, adds its mask to them and takes the softmax of every
row, padding too; GELU and LayerNorm are written out; the heads of words and of regions score every token and every
region. Parameters have the published names, so that weights and gradients are compared through
`limner.weights.vilbert_importer.export_vilbert`. Weights that the published forward pass never reads are left out.

Shapes: N sequences, T tokens (256), R regions (37), D features, V words, C region classes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models.vilbert import ViLBERT
from limner.weights.vilbert_importer import export_vilbert

LENGTH = 256  # tokens that every sequence is padded to
TIED = "cls.predictions.decoder.weight"
Sizes = dict[str, Any]  # the arguments of `ViLBERT`


class Norm(nn.Module):
    """LayerNorm, written out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        return self.weight * (centred / torch.sqrt(variance + 1e-12)) + self.bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int, drop: nn.Dropout) -> Tensor:
    """`q (N, a, S)`, `k`, `v (N, b, S)`, `mask (N, 1, 1, b)` to be added; to `(N, a, S)`."""
    q, k, v = (x.unflatten(-1, (heads, -1)).permute(0, 2, 1, 3) for x in (q, k, v))
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1]) + mask
    weights = drop(torch.softmax(scores, -1))
    return torch.matmul(weights, v).permute(0, 2, 1, 3).contiguous().flatten(2)


class Dense(nn.Module):
    """A layer called `dense`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class Sum(Dense):
    """LN(dropout(dense(x)) + what came before)."""

    def __init__(self, inputs: int, size: int, drop: float) -> None:
        super().__init__(inputs, size)
        self.LayerNorm, self.drop = Norm(size), nn.Dropout(drop)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.drop(self.dense(x)) + before)


class SelfLayer(nn.Module):
    """A layer of one stream."""

    def __init__(self, size: int, heads: int, ffn: int, drop: float, drop_weights: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(drop_weights)
        asked = nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": asked, "output": Sum(size, size, drop)})
        self.intermediate, self.output = Dense(size, ffn), Sum(ffn, size, drop)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = self.attention["self"]
        q, k, v = layers["query"](x), layers["key"](x), layers["value"](x)
        x = self.attention["output"](attention(q, k, v, mask, self.heads, self.drop), x)
        return self.output(gelu(self.intermediate.dense(x)), x)


class JointLayer(nn.Module):
    """A co-attention layer: 1 is the image, 2 the text."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        image, text, joint = sizes["image_hidden"], sizes["text_hidden"], sizes["joint_hidden"]
        self.heads = sizes["joint_heads"]
        made = {f"{name}{n}": nn.Linear(size, joint) for n, size in ((1, image), (2, text)) for name in
                ("query", "key", "value")}  # fmt: skip
        self.biattention = nn.ModuleDict(made)
        sums = {"dense1": nn.Linear(joint, image), "LayerNorm1": Norm(image)}
        self.biOutput = nn.ModuleDict({**sums, "dense2": nn.Linear(joint, text), "LayerNorm2": Norm(text)})
        self.v_intermediate, self.t_intermediate = Dense(image, sizes["image_ffn"]), Dense(text, sizes["text_ffn"])
        drops = sizes["dropout_image"], sizes["dropout_text"]
        self.v_output = Sum(sizes["image_ffn"], image, drops[0])
        self.t_output = Sum(sizes["text_ffn"], text, drops[1])
        self.drops = nn.ModuleList(nn.Dropout(drop) for drop in drops)
        self.over_text = nn.Dropout(sizes["dropout_text_attention"])
        self.over_image = nn.Dropout(sizes["dropout_image_attention"])

    def forward(self, t: Tensor, v: Tensor, text_mask: Tensor, image_mask: Tensor) -> tuple[Tensor, Tensor]:
        ask = self.biattention
        q1, k1, v1 = (ask[f"{name}1"](v) for name in ("query", "key", "value"))
        q2, k2, v2 = (ask[f"{name}2"](t) for name in ("query", "key", "value"))
        of_text = attention(q2, k1, v1, image_mask, self.heads, self.over_image)
        of_image = attention(q1, k2, v2, text_mask, self.heads, self.over_text)
        out = self.biOutput
        v = out["LayerNorm1"](self.drops[0](out["dense1"](of_image)) + v)
        t = out["LayerNorm2"](self.drops[1](out["dense2"](of_text)) + t)
        v = self.v_output(gelu(self.v_intermediate.dense(v)), v)
        return self.t_output(gelu(self.t_intermediate.dense(t)), t), v


class Head(nn.Module):
    """LN(GELU(dense)), then scores: of classes by a layer of its own, of words by the tied embedding and a bias."""

    def __init__(self, size: int, classes: int, *, tied: bool) -> None:
        super().__init__()
        self.transform = nn.ModuleDict({"dense": nn.Linear(size, size), "LayerNorm": Norm(size)})
        if tied:
            self.bias = nn.Parameter(torch.zeros(classes))
        else:
            self.decoder = nn.Linear(size, classes)

    def forward(self, x: Tensor, words: Tensor | None = None) -> Tensor:
        x = self.transform["LayerNorm"](gelu(self.transform["dense"](x)))
        return self.decoder(x) if words is None else F.linear(x, words) + self.bias


class PlainViLBERT(nn.Module):
    """The published model at some sizes: the arguments of `ViLBERT`, all of them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        text, image, joint = sizes["text_hidden"], sizes["image_hidden"], sizes["joint_hidden"]
        made = {"word": "words", "position": "positions", "token_type": "segments"}
        embeddings: dict[str, nn.Module] = {
            f"{name}_embeddings": nn.Embedding(sizes[rows], text) for name, rows in made.items()
        }
        features = {"image_embeddings": nn.Linear(sizes["feature_dim"], image)}
        features["image_location_embeddings"] = nn.Linear(5, image)
        own = {
            stream: [sizes[f"{stream}_{name}"] for name in ("hidden", "heads", "ffn")]
            + [sizes[f"dropout_{stream}"], sizes[f"dropout_{stream}_attention"]]
            for stream in ("text", "image")
        }
        layers = {"layer": nn.ModuleList(SelfLayer(*own["text"]) for _ in range(sizes["text_layers"]))}
        layers["v_layer"] = nn.ModuleList(SelfLayer(*own["image"]) for _ in range(sizes["image_layers"]))
        layers["c_layer"] = nn.ModuleList(JointLayer(sizes) for _ in sizes["text_connections"])
        self.bert = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict({**embeddings, "LayerNorm": Norm(text)}),
                "v_embeddings": nn.ModuleDict({**features, "LayerNorm": Norm(image)}),
                "encoder": nn.ModuleDict(layers),
                "t_pooler": Dense(text, joint),
                "v_pooler": Dense(image, joint),
            }
        )
        self.cls = nn.ModuleDict(
            {
                "bi_seq_relationship": nn.Linear(joint, 2),
                "predictions": Head(text, sizes["words"], tied=True),
                "imagePredictions": Head(image, sizes["region_classes"], tied=False),
            }
        )
        names = ("dropout_text", "dropout_image", "dropout_fused")
        self.drops = nn.ModuleDict({name: nn.Dropout(sizes[name]) for name in names})
        self.connections = list(zip(sizes["text_connections"], sizes["image_connections"]))

    def forward(
        self, tokens: Tensor, segments: Tensor, text_mask: Tensor, feats: Tensor, boxes: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`tokens`, `segments`, `text_mask (N, T)`, `feats (N, R, D)`, `boxes (N, R, 5)`, `mask (N, R)`.

        Returns:
            The alignment `(N, 2)`, and the scores of all words `(N, T, V)` and of all regions `(N, R, C)`.
        """
        at, seen, layers = self.bert["embeddings"], self.bert["v_embeddings"], self.bert["encoder"]
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        t = at["word_embeddings"](tokens) + at["position_embeddings"](places) + at["token_type_embeddings"](segments)
        t = self.drops["dropout_text"](at["LayerNorm"](t))
        v = seen["image_embeddings"](feats) + seen["image_location_embeddings"](boxes)
        v = self.drops["dropout_image"](seen["LayerNorm"](v))
        masks = [((1.0 - real.to(t.dtype)) * -10000.0)[:, None, None, :] for real in (text_mask, mask)]
        done = [0, 0]
        for connection, ends in zip(layers["c_layer"], self.connections):
            t, v = self.run(t, v, masks, done, ends)
            t, v = connection(t, v, *masks)
            done = list(ends)
        t, v = self.run(t, v, masks, done, (len(layers["layer"]), len(layers["v_layer"])))
        pooled = [F.relu(self.bert[f"{name}_pooler"].dense(x[:, 0])) for name, x in (("t", t), ("v", v))]
        alignment = self.cls["bi_seq_relationship"](self.drops["dropout_fused"](pooled[0] * pooled[1]))
        words = self.cls["predictions"](t, at["word_embeddings"].weight)
        return alignment, words, self.cls["imagePredictions"](v)

    def run(self, t: Tensor, v: Tensor, masks: list[Tensor], start: Any, end: Any) -> tuple[Tensor, Tensor]:
        """The layers of each stream from `start` to `end`."""
        for layer in self.bert["encoder"]["v_layer"][start[1] : end[1]]:
            v = layer(v, masks[1])
        for layer in self.bert["encoder"]["layer"][start[0] : end[0]]:
            t = layer(t, masks[0])
        return t, v

    def load(self, model: ViLBERT) -> PlainViLBERT:
        """Takes the weights of `model`."""
        weights = export_vilbert(model.state_dict(), prefix="")
        self.load_state_dict({name: tensor for name, tensor in weights.items() if name in self.state_dict()})
        return self


def losses(
    alignment: Tensor, words: Tensor, regions: Tensor, labels: Tensor, word_labels: Tensor, targets: Tensor, at: Tensor
) -> Tensor:
    """The three published losses of the base stage, summed.

    labels `(N,)`; word_labels `(N, T)`, -1 where nothing is masked; targets `(N, R, C)` of all regions; at `(N, R)`
    bool, those that count.
    """
    of_words = F.cross_entropy(words.flatten(0, 1), word_labels.flatten(), ignore_index=-1)
    every = F.kl_div(F.log_softmax(regions, -1), targets, reduction="none")
    of_regions = (every * at[..., None]).sum() / at.sum()
    return F.cross_entropy(alignment, labels) + of_words + of_regions


def padded(x: Tensor) -> Tensor:
    """`(N, L)` with zeros up to `(N, 256)`."""
    return F.pad(x, (0, LENGTH - x.shape[1]))
