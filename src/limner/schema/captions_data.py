"""Config of caption data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from limner.schema.keys import key


@dataclass
class CaptionData:
    SPLITS: ClassVar[str] = "captions"
    BROUGHT: ClassVar[dict[str, Any]] = {"words_from": []}

    _target_: str = "limner.data.captions.CaptionData"
    folder: str = key("???", "folder of the files below")
    made_by: str | None = key(None, "the command that makes the files; shown when one is missing")
    licence: str | None = key(None, "licence of the annotations, for the model card; null: unknown")
    captions: dict[str, Any] = key(
        {}, "split -> caption file or a list: Karpathy's splits, COCO's, or {image id: [captions]}", path=True
    )
    splits_in_file: dict[str, Any] = key(
        {}, "split -> its splits in a Karpathy file, such as [train, restval]; not here: the one of the same name"
    )
    image_ids: str = key(
        "id", "id: the file's (cocoid, or imgid without); filename: the digits at its end", choices=("id", "filename")
    )
    tokens: str = key(
        "file", "words: a Karpathy file's own, else the COCO tokeniser's; coco: always those", choices=("file", "coco")
    )
    features: list[str] = key([], "feature stores (.h5) that hold the images", path=True)
    global_features: list[str] = key([], "stores with one vector an image, for a model that wants one", path=True)
    fit: list[str] = key(["train"], "splits to train on; [train, val] for a test submission")
    select: str = key("val", "split that picks the best epoch")
    test: str | None = key(None, "split that is evaluated after training; null: none")
    words_from: list[str] | None = key(None, "splits whose captions make the vocabulary; null: those of data.fit")
    min_count: int = key(5, "a word is kept when it occurs so often (published: 5); others become <unk>", low=1)
    max_length: int = key(
        16, "first words of a caption that are learned (published: 16, the paper's release: 20)", low=1
    )
    captions_per_image: int | None = key(
        5, "captions drawn for an image in each epoch (published: 5; paper's release: 1); null: all", low=1
    )
    max_regions: int | None = key(None, "use the first so many regions of an image; null: all", low=1)
    batch_size: int = key(100, "images in a training batch, over all processes", low=1)
    eval_batch_size: int = key(100, "images in an evaluation batch, over all processes", low=1)
    resident: bool = key(False, "keep all features in the device's memory; the loader moves only row numbers")
    limit: int | None = key(None, "only the first so many images of each split, by id", low=1)
    cache: str = key("outputs/.cache", "folder of parsed files")
    seed: int = key(1, "order of the training batches, and which captions are drawn")

    @staticmethod
    def train_faults(data: DictConfig, model: DictConfig) -> list[str]:
        """What does not fit together in a training run with these data."""
        faults = []
        if not data.features:
            faults.append("data.features is empty but a captioner looks at regions: give feature stores")
        if not data.fit:
            faults.append("data.fit is empty: name the splits to train on, such as [train]")
        given = model.get("global_source") == "given"
        if given and not data.global_features:
            faults.append("data.global_features is empty but model.global_source=given needs a vector for each image")
        if data.global_features and not given:
            faults.append("data.global_features is used only with model.global_source=given: set it to [], or that")
        return faults
