"""The golden captioner: the published model of a random small size, imported, in float64.

`load(shared, "masked")` or `load(shared, "nomask")` gives model, inputs and golden numbers; `to_ours` and `to_theirs`
translate ids, `their_columns` the outputs of the word layer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.caption_words import CaptionVocabulary
from limner.models.updown_captioner import UpDownCaptioner
from limner.weights import caption_importer

SETS = ("masked", "nomask")


@dataclass
class Golden:
    """One golden set.

    model: in evaluation mode. feats (I, R, D), mask (I, R), given (I, G): its inputs; `inputs` are the three as
    arguments of `begin`. arrays, numbers: what the published code computed. state: its state dict.
    """

    name: str
    state: dict[str, Tensor]
    model: UpDownCaptioner
    feats: Tensor
    mask: Tensor
    given: Tensor
    vocabulary: CaptionVocabulary
    arrays: dict[str, Tensor]
    numbers: dict[str, Any]

    @property
    def words(self) -> int:
        return len(self.vocabulary)

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {"feats": self.feats, "mask": self.mask, "given": self.given}

    def to_ours(self, tokens: Tensor) -> Tensor:
        """Their ids to ours, position by position: 0 becomes EOS."""
        return torch.where(tokens > 0, tokens - 1, self.words)

    def to_theirs(self, tokens: Tensor) -> Tensor:
        """Our ids to theirs: EOS and PAD become 0."""
        return torch.where(tokens < self.words, tokens + 1, 0)

    def their_columns(self, outputs: Tensor) -> Tensor:
        """Outputs of our word layer `(..., V+1)` in their order: the end first."""
        return torch.cat((outputs[..., -1:], outputs[..., :-1]), dim=-1)

    def captions(self) -> dict[str, Tensor]:
        """The teacher-forced captions: `image`, `tokens`, `lengths`, as arguments of `states`."""
        labels, masks = self.arrays["labels"].flatten(0, 1), self.arrays["label_masks"].flatten(0, 1)
        lengths = masks.sum(1).long() - 1  # their mask counts the start
        tokens = self.to_ours(labels)
        tokens[:, 0] = self.words + 1
        tokens[torch.arange(labels.shape[1]) > lengths[:, None]] = self.words + 2
        image = torch.arange(len(self.feats)).repeat_interleave(self.arrays["labels"].shape[1])
        return {"image": image, "tokens": tokens, "lengths": lengths}


def load(shared: Path, name: str) -> Golden:
    """The golden set `name`."""
    folder = shared / "golden/captioner"
    numbers = json.loads((folder / "updown_small.json").read_text())
    with np.load(folder / "updown_small.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    state = {key[3:]: value for key, value in arrays.items() if key.startswith("sd/")}
    model = UpDownCaptioner(**caption_importer.rt_captioner_sizes(state, global_source="given"))
    model.load_state_dict(caption_importer.convert_rt_captioner(state))
    masked = name == "masked"
    mask = arrays["in/mask"].bool()
    return Golden(
        name=name,
        state=state,
        model=model.double().eval(),
        feats=arrays["in/att_padded" if masked else "in/att"],
        mask=mask if masked else torch.ones_like(mask),
        given=arrays["in/fc"],
        vocabulary=CaptionVocabulary(caption_importer.rt_words(numbers["config"]["vocab"])),
        arrays={key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{name}/")},
        numbers=numbers[name],
    )
