"""The two streams of ViLBERT and the co-attention layers that connect them (Lu et al. 2019, figure 1).

For each connection k: image layers up to image_connections[k], text layers up to text_connections[k], then
co-attention layer k; at the end the layers that are left. Base: text 0-5, joint 0, image 0, text 6, joint 1, image 1,
text 7, ... joint 5, image 5, text 11.

Up to the first connection an image is computed once for all of its sequences, and of the last layers only the rows
that something reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from limner.models.vilbert_layers import JointLayer, JointMaps, SelfLayer, Wanted
from limner.models.vilbert_layout import Group


class Stream(NamedTuple):
    """What goes into the encoder.

    x: `(U, S)` rows. spread: `(P,)`, row p is `x[spread[p]]`; None: `x` has them all. groups: how the P rows form
    sequences. own: how the U rows do (images once each); text has none. wanted: the rows that are read at the end;
    None: all, in order.
    """

    x: Tensor
    groups: tuple[Group, ...]
    spread: Tensor | None = None
    own: tuple[Group, ...] = ()
    wanted: Wanted | None = None


class Maps(NamedTuple):
    """Attention weights of every layer, before dropout: `text (N, heads, L, L)`, `image (N, heads, R, R)` and `joint`,
    each a list."""

    text: list[Tensor]
    image: list[Tensor]
    joint: list[JointMaps]


class Encoder(nn.Module):
    """Layers of both streams.

    Args:
        text, image: layers of a stream. joint: the co-attention layers, one a connection.
        text_connections, image_connections: how many layers of each stream come before each connection.
    """

    def __init__(
        self,
        text: Sequence[SelfLayer],
        image: Sequence[SelfLayer],
        joint: Sequence[JointLayer],
        *,
        text_connections: Sequence[int],
        image_connections: Sequence[int],
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.text_layers, self.image_layers = nn.ModuleList(text), nn.ModuleList(image)
        self.joint_layers = nn.ModuleList(joint)
        self.checkpointing = checkpointing
        self.path = list(path(len(text), len(image), text_connections, image_connections))
        self.last_joint = max((k for k, (kind, _) in enumerate(self.path) if kind == "joint"), default=-1)

    def forward(self, text: Stream, image: Stream | None, maps: Maps | None = None) -> tuple[Tensor, Tensor | None]:
        """Rows of both streams after the last layers: those wanted, or all."""
        for place, (kind, number) in enumerate(self.path):
            late = place > self.last_joint
            if kind == "text":
                last = late and number == len(self.text_layers) - 1
                text = self._self_layer(self.text_layers[number], text, last, maps.text if maps else None)
            elif image is not None and kind == "image":
                image = _whole(image) if late else image
                last = late and number == len(self.image_layers) - 1
                image = self._self_layer(self.image_layers[number], image, last, maps.image if maps else None)
            elif image is not None:
                text = _whole(text)
                out = self._call(
                    self.joint_layers[number],
                    text.x,
                    image.x,
                    text.groups,
                    image.groups[0],
                    spread=image.spread,
                    maps=maps.joint if maps else None,
                )
                text, image = text._replace(x=out[0]), image._replace(x=out[1], spread=None)
        return _chosen(text), None if image is None else _chosen(image)

    def _self_layer(self, layer: nn.Module, stream: Stream, last: bool, maps: list[Tensor] | None) -> Stream:
        if stream.spread is not None and stream.own:  # an image, once for all of its sequences
            return stream._replace(x=self._call(layer, stream.x, stream.own, maps=maps))
        wanted = stream.wanted if last else None
        x = self._call(layer, stream.x, stream.groups, spread=stream.spread, wanted=wanted, maps=maps)
        return stream._replace(x=x, spread=None, wanted=None if last else stream.wanted)

    def _call(self, layer: nn.Module, *values: Any, **options: Any) -> Any:
        if self.checkpointing and self.training and torch.is_grad_enabled() and options["maps"] is None:
            return checkpoint(layer, *values, **options, use_reentrant=False)
        return layer(*values, **options)


def _whole(stream: Stream) -> Stream:
    return stream if stream.spread is None else stream._replace(x=stream.x.index_select(0, stream.spread), spread=None)


def _chosen(stream: Stream) -> Tensor:
    x = _whole(stream).x
    return x if stream.wanted is None else x.index_select(0, stream.wanted.rows)


def path(
    text_layers: int, image_layers: int, text_connections: Sequence[int], image_connections: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """The order in which the layers run: ("text", i), ("image", i), ("joint", k)."""
    text = image = 0
    for k, (to_text, to_image) in enumerate(zip(text_connections, image_connections)):
        yield from (("image", i) for i in range(image, to_image))
        yield from (("text", i) for i in range(text, to_text))
        yield "joint", k
        text, image = to_text, to_image
    yield from (("image", i) for i in range(image, image_layers))
    yield from (("text", i) for i in range(text, text_layers))
