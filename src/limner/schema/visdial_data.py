"""Config of visual dialog's data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from limner.errors import listing
from limner.schema.keys import key
from limner.schema.vilbert_faults import length_faults, text_faults


@dataclass
class VisDialData:
    SPLITS: ClassVar[str] = "dialogs"
    BROUGHT: ClassVar[dict[str, Any]] = {"vocabulary": None, "words_from": []}

    _target_: str = "limner.data.visdial.VisDialData"
    folder: str = key("???", "folder of the files below")
    made_by: str | None = key(None, "the command that makes the files; shown when one is missing")
    licence: str | None = key(None, "licence of the annotations, for the model card; null: unknown")
    dialogs: dict[str, Any] = key({}, "split -> VisDial JSON (.json, .json.gz) or a list of them", path=True)
    dense: dict[str, Any] = key({}, "split -> its dense annotations or a list of them", path=True)
    features: list[str] = key([], "feature stores (.h5) that hold the images; []: language only", path=True)
    fit: list[str] = key(["train"], "splits to train on; [train, val] for a test submission")
    select: str = key("val", "split that picks the best epoch")
    test: str | None = key(None, "split that is evaluated after training; null: none")
    vocabulary: str | None = key(
        "bert-base-uncased", "word parts: a vocab.txt, a name on the Hugging Face hub; null: learned from words_from"
    )
    words_from: list[str] = key(["train"], "splits whose texts word parts are learned from, without a vocabulary")
    vocabulary_size: int = key(30522, "most word parts that are learned", low=8)
    lowercase: bool = key(True, "lower case without accents (published); false for a cased vocabulary")
    max_length: int = key(
        256, "tokens of a sequence; the oldest rounds of longer ones give way (published: 256)", low=8
    )
    history: int | None = key(
        None, "last rounds that are read, the caption counting as one more (published: 11); null: all", low=1
    )
    max_regions: int | None = key(36, "first regions of an image, the whole image not counted (published: 36)", low=1)
    per_image: int | None = key(2, "sequences drawn for an image in each epoch (published: 2 of 20); null: all", low=1)
    negatives: int = key(1, "wrong candidates to draw from for each round (published: 1)", low=1)
    mask_words: float = key(0.15, "share of words to be predicted (published: 0.15, its README: 0.1)", low=0, high=1)
    mask_regions: float = key(0.15, "share of regions to be predicted (published: 0.15)", low=0, high=1)
    region_targets: str = key(
        "auto", "what masked regions are predicted as: classes (published; class_probs of the features), features; "
        "auto: classes where the features keep them", choices=("auto", "classes", "features")
    )  # fmt: skip
    dense_options: int | None = key(
        80, "dense finetuning: options compared, the answer given and others (published: 80); null: all", low=2
    )
    frequent_answers: int = key(
        1000, "most frequent training answers that a package keeps: candidates for dialogs without any", low=0
    )
    batch_size: int = key(80, "sequences in a training batch, over all processes (published: 80)", low=1)
    eval_batch_size: int = key(8, "dialogs in an evaluation batch, over all processes", low=1)
    ranked: str = key(
        "all", "rounds that an evaluation ranks: all, or judged: those with dense annotations, a tenth of the work; "
        "every metric is then over these", choices=("all", "judged")
    )  # fmt: skip
    resident: bool = key(False, "keep all features in the device's memory; the loader moves only row numbers")
    limit: int | None = key(None, "only the first so many dialogs of each split", low=1)
    cache: str = key("outputs/.cache", "folder of parsed files and of tokenised texts")
    seed: int = key(1, "order of the training batches, sequences, wrong candidates and masks")

    @staticmethod
    def train_faults(data: DictConfig, model: DictConfig) -> list[str]:
        """What does not fit together in a training run with these data."""
        there = listing(sorted(str(split) for split in data.dialogs))
        faults = [
            f"data.dense has the split '{split}', which data.dialogs has not; it has {there}"
            for split in sorted(str(split) for split in data.dense)
            if split not in data.dialogs
        ]
        faults += text_faults(data)
        if not data.features and model.get("fusion", "text") != "text":
            faults.append(
                f"data.features is empty but model.fusion={model.fusion} needs an image: give features, or read the "
                "text alone: model.fusion=text model.text_connections=[] model.image_connections=[]"
            )
        return faults + length_faults(data, model)
