"""A tiny captioner in float64, a handful of captions and a batch: what the SCST tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from limner.data.caption_split import CaptionSplit, References
from limner.data.caption_words import CaptionVocabulary
from limner.models.updown_captioner import UpDownCaptioner
from limner.scst import SCST

WORDS = ["<unk>", "a", "red", "blue", "circle", "square", "with", "and"]
SAID = {
    11: ["a red circle", "a red circle and a blue square"],
    12: ["a blue square", "a blue square with a circle"],
    15: ["a red square", "a purple square", "red and blue"],
}
DIM = 6


def vocabulary() -> CaptionVocabulary:
    return CaptionVocabulary(WORDS)


def split(said: dict[int, list[str]] = SAID) -> CaptionSplit:
    """Captions as the data module holds them."""
    every = [text for texts in said.values() for text in texts]
    words = list(dict.fromkeys(word for text in every for word in text.split()))
    written = [text.encode() for text in every]
    ends = np.cumsum([len(text) for text in written])
    return CaptionSplit(
        image_id=np.array(list(said), np.int64),
        first=np.cumsum([0, *map(len, said.values())]),
        words=words,
        tokens=np.array([words.index(word) for text in every for word in text.split()], np.int32),
        offsets=np.cumsum([0, *(len(text.split()) for text in every)]),
        text=np.frombuffer(b"".join(written), np.uint8),
        where=np.stack([ends - [len(text) for text in written], ends], 1),
    )


def references(said: dict[int, list[str]] = SAID) -> References:
    return References(split(said), raw=False)


def model(seed: int = 0, *, drop: float = 0.0, double: bool = True, **options: Any) -> UpDownCaptioner:
    torch.manual_seed(seed)
    drops = dict.fromkeys(("dropout_words", "dropout_global", "dropout_regions", "dropout_output"), drop)
    sizes = {"embed_dim": 7, "hidden": 9, "attention_hidden": 5, **options}
    made = UpDownCaptioner(words=len(WORDS), feature_dim=DIM, **sizes, **drops)
    return made.double() if double else made


def batch(ids: list[int] | None = None, *, double: bool = True) -> dict[str, Any]:
    """Images with their first two captions each; a function of the ids alone."""
    ids = list(SAID) if ids is None else ids
    words = vocabulary()
    feats = torch.stack([torch.randn(4, DIM, generator=torch.Generator().manual_seed(image)) for image in ids])
    captions = [[words.bos, *words.encode(text.split()), words.eos] for image in ids for text in SAID[image][:2]]
    longest = max(map(len, captions))
    return {
        "id": torch.tensor(ids),
        "feats": feats.double() if double else feats,
        "boxes": torch.zeros(len(ids), 4, 4),
        "mask": torch.arange(4) < torch.tensor([2 + image % 3 for image in ids])[:, None],
        "image": torch.arange(len(ids)).repeat_interleave(2),
        "tokens": torch.tensor([caption + [words.pad] * (longest - len(caption)) for caption in captions]),
        "lengths": torch.tensor([len(caption) - 1 for caption in captions]),
        "total": len(ids),
    }


def phase(**options: Any) -> SCST:
    """Self-critical training, prepared."""
    made = SCST(**{"samples": 3, "max_length": 6, **options})
    made.prepare(references(), vocabulary())
    return made
