"""BERT written down as plainly as can be, under transformers' names, one sequence at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_words(state: dict[str, Tensor], tokens: Tensor, segments: Tensor, *, heads: int) -> Tensor:
    """Logits of the masked-word head: `tokens (L,)` and `segments (L,)` of one sequence to `(L, V)`."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    table = "bert.embeddings.{}_embeddings.weight"
    x = state[table.format("word")][tokens] + state[table.format("token_type")][segments]
    x = norm(x + state[table.format("position")][: len(tokens)], "bert.embeddings.LayerNorm")
    size = x.shape[1] // heads
    layers = {name.split(".")[3] for name in state if name.startswith("bert.encoder.layer.")}
    for layer in (f"bert.encoder.layer.{k}" for k in range(len(layers))):
        q, k, v = (linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        seen = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            weights = (q[:, own] @ k[:, own].T / size**0.5).softmax(1)
            seen.append(weights @ v[:, own])
        attended = linear(torch.cat(seen, 1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        inner = F.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    x = norm(F.gelu(linear(x, "cls.predictions.transform.dense")), "cls.predictions.transform.LayerNorm")
    return x @ state[table.format("word")].T + state["cls.predictions.bias"]
