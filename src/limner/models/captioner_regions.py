"""What a captioner sees of an image: its regions, embedded or raw, and one global vector.

Shapes: I images, R regions, D features, H hidden, F what a region has when attention weighs it (H embedded, D raw).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.errors import UserError
from limner.models.dropout import dropped
from limner.models.regions import RegionBatch

GEOMETRY = 5  # numbers that box geometry adds to a region


def box_geometry(boxes: Tensor, size: Tensor) -> Tensor:
    """Where a box lies: x1 / w, y1 / h, x2 / w, y2 / h and its share of the image's area.

    Args:
        boxes: `(I, R, 4)` x1, y1, x2, y2 in pixels.
        size: `(I, 2)` width and height in pixels.

    Returns:
        `(I, R, 5)`.
    """
    corners = boxes / size.repeat(1, 2).unsqueeze(1).to(boxes.dtype)
    area = (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])
    return torch.cat((corners, area.unsqueeze(-1)), dim=-1)


class Regions(nn.Module):
    """The regions that attention weighs.

    Args:
        inputs: D, box geometry included.
        hidden: H.
        embedded: dropout(ReLU(W v + b)); False: the features as they are.
        batch_norm: "before" the linear layer, on "both" sides of it (the second one after the dropout), or "none".
            Padded regions are not counted.
        dropout: of embedded regions.
    """

    def __init__(self, inputs: int, hidden: int, *, embedded: bool, batch_norm: str, dropout: float) -> None:
        super().__init__()
        self.outputs = hidden if embedded else inputs
        self.embedded, self.dropout = embedded, dropout
        if embedded:
            self.linear = nn.Linear(inputs, hidden)
        self.norm_before = nn.BatchNorm1d(inputs) if batch_norm in ("before", "both") else None
        self.norm_after = nn.BatchNorm1d(hidden) if batch_norm == "both" else None

    def forward(self, feats: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """`feats (I, R, D)` and `mask (I, R)` to `(I, R, F)` of type `dtype`; padded regions become zero."""
        if not self.embedded:
            return feats.to(dtype).masked_fill(~mask.unsqueeze(-1), 0)
        if self.norm_before is None:
            batch = RegionBatch(feats, mask, mask.new_zeros(0, dtype=torch.long), dtype)
            out = dropped(batch.layer(self.linear, relu=True), self.dropout, self.training)
            return out.masked_fill(~mask.unsqueeze(-1), 0)
        rows = self.norm_before(feats[mask].to(self.linear.weight.dtype))  # statistics in full precision
        rows = dropped(F.relu(self.linear(rows)), self.dropout, self.training)
        rows = (rows if self.norm_after is None else self.norm_after(rows)).to(dtype)
        return rows.new_zeros(*mask.shape, rows.shape[1]).index_put((mask,), rows)


class Global(nn.Module):
    """The vector of the whole image, which the attention LSTM reads at every step.

    Args:
        source: "mean" of the real regions' raw features, or a vector that is "given".
        inputs: its size. hidden: H.
        embedded: dropout(ReLU(W x + b)); False: as it is.
        dropout: of the embedded vector.
    """

    def __init__(self, inputs: int, hidden: int, *, source: str, embedded: bool, dropout: float) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, hidden if embedded else inputs
        self.source, self.embedded, self.dropout = source, embedded, dropout
        if embedded:
            self.linear = nn.Linear(inputs, hidden)

    def forward(self, feats: Tensor, mask: Tensor, given: Tensor | None, dtype: torch.dtype) -> Tensor:
        """`feats (I, R, D)`, `mask (I, R)` and `given (I, G)` to `(I, H)` or, not embedded, `(I, G)`.

        Raises:
            UserError: if the vector is to be given and is not, or has another size.
        """
        if self.source == "mean":
            real = mask.to(torch.float64 if dtype == torch.float64 else torch.float32)
            shares = (real / real.sum(1, keepdim=True).clamp(min=1)).to(dtype)  # [i, r]
            batch = RegionBatch(feats, mask, mask.new_zeros(0, dtype=torch.long), dtype)
            vector = batch.pool_images(shares.unsqueeze(1)).squeeze(1)
        elif given is None or given.shape[1] != self.inputs:
            found = "none was given" if given is None else f"found one of {given.shape[1]} numbers"
            raise UserError(
                f"global vectors: {found}, expected {self.inputs} numbers an image (model.global_dim), "
                "since model.global_source=given; global_source=mean takes the mean of the regions"
            )
        else:
            vector = given.to(dtype)
        if not self.embedded:
            return vector
        return dropped(F.relu(self.linear(vector)), self.dropout, self.training)
