"""Config of ViLBERT's pretraining: pairs of images and texts, and the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from limner.schema.keys import key
from limner.schema.vilbert_faults import length_faults, text_faults


@dataclass
class PairData:
    """What captions and questions share."""

    BROUGHT: ClassVar[dict[str, Any]] = {"vocabulary": None, "words_from": []}

    folder: str = key("???", "folder of the files below")
    made_by: str | None = key(None, "the command that makes the files; shown when one is missing")
    licence: str | None = key(None, "licence of the annotations, for the model card; null: unknown")
    features: list[str] = key([], "feature stores (.h5) that hold the images; []: the texts alone", path=True)
    fit: list[str] = key(["train"], "splits to train on")
    select: str = key("val", "split that picks the best epoch")
    test: str | None = key(None, "split that is evaluated after training; null: none")
    vocabulary: str | None = key(
        "bert-base-uncased", "word parts: a vocab.txt, a name on the Hugging Face hub; null: learned from words_from"
    )
    words_from: list[str] = key(["train"], "splits whose texts word parts are learned from, without a vocabulary")
    vocabulary_size: int = key(30522, "most word parts that are learned", low=8)
    lowercase: bool = key(True, "lower case without accents (published); false for a cased vocabulary")
    max_length: int = key(36, "tokens of a sequence; longer texts are cut (published for captions: 36)", low=8)
    max_regions: int | None = key(36, "first regions of an image, the whole image not counted (published: 36)", low=1)
    wrong_pairs: float = key(
        0.5, "share of pairs read with another image's caption, or another question's answer (published: 0.5)",
        low=0, high=1,
    )  # fmt: skip
    mask_words: float = key(0.15, "share of words to be predicted (published: 0.15)", low=0, high=1)
    hidden_words: str = key(
        "bert", "what stands for them: bert: [MASK] for 80 %, any part for 10 %, itself for 10 %; mask: always [MASK]",
        choices=("bert", "mask"),
    )  # fmt: skip
    mask_regions: float = key(0.15, "share of regions to be predicted (published: 0.15)", low=0, high=1)
    region_targets: str = key(
        "auto", "what masked regions are predicted as: classes (published; class_probs of the features), features; "
        "auto: classes where the features keep them", choices=("auto", "classes", "features")
    )  # fmt: skip
    batch_size: int = key(512, "pairs in a training batch, over all processes (published: 512)", low=1)
    eval_batch_size: int = key(128, "pairs in an evaluation batch, over all processes", low=1)
    resident: bool = key(False, "keep all features in the device's memory; the loader moves only row numbers")
    limit: int | None = key(None, "only the first so many images (of questions: questions) of each split", low=1)
    cache: str = key("outputs/.cache", "folder of parsed files and of tokenised texts")
    seed: int = key(1, "order of the training batches, wrong pairs and masks")

    @staticmethod
    def train_faults(data: DictConfig, model: DictConfig) -> list[str]:
        """What does not fit together in a training run with these data."""
        return text_faults(data) + length_faults(data, model)


@dataclass
class CaptionPairs(PairData):
    SPLITS: ClassVar[str] = "captions"

    _target_: str = "limner.data.pairs.CaptionPairs"
    captions: dict[str, Any] = key(
        {}, "split -> caption file or a list: Karpathy's splits, COCO's, or {image id: [captions]}", path=True
    )
    splits_in_file: dict[str, Any] = key(
        {}, "split -> its splits in a Karpathy file, such as [train, restval]; not here: the one of the same name"
    )
    image_ids: str = key(
        "id", "id: the file's (cocoid, or imgid without); filename: the digits at its end", choices=("id", "filename")
    )


@dataclass
class QuestionPairs(PairData):
    SPLITS: ClassVar[str] = "questions"

    _target_: str = "limner.data.pairs.QuestionPairs"
    questions: dict[str, Any] = key({}, "split -> VQA v2 question file or a list of them", path=True)
    annotations: dict[str, Any] = key({}, "split -> its annotation file or a list of them", path=True)


@dataclass
class PretrainingTask:
    _target_: str = "limner.tasks.vilbert_pretraining.PretrainingTask"
    words_weight: float = key(1.0, "factor on the loss of masked words (published: 1)", low=0)
    regions_weight: float = key(1.0, "factor on the loss of masked regions (published: 1)", low=0)
    alignment_weight: float = key(1.0, "factor on the loss of right and wrong pairs (published: 1)", low=0)
    image_lr: float | None = key(
        None, "learning rate of what is not the text stream (published: 1e-4, the text's 1e-5); null: optim.lr", low=0
    )
    warmup_steps: int | None = key(
        None, "schedule of the dialogs' finetuning: batches of warm-up (10000); null: the group `schedule`", low=0
    )
    total_steps: int = key(200000, "that schedule: the batch at which the rate would be 0", low=1)
    lowest_lr: float = key(1e-5, "that schedule: the rate is never lower", low=0)
