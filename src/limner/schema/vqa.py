"""Config of Up-Down VQA: its data, its model, its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from limner.errors import listing
from limner.schema.keys import key

ACTIVATIONS = ("relu", "gated_tanh", "elu", "glu", "tanh")


@dataclass
class VQAData:
    SPLITS: ClassVar[str] = "questions"
    BROUGHT: ClassVar[dict[str, Any]] = {
        "words_from": [], "answers_from": [], "glove": None, "answer_images": None, "answers_file": None,
        "visual_genome": None, "visual_genome_images": None,
    }  # fmt: skip

    _target_: str = "limner.data.vqa.VQAData"
    folder: str = key("???", "folder of the files below")
    made_by: str | None = key(None, "the command that makes the files; shown when one is missing")
    licence: str | None = key(None, "licence of the annotations, for the model card; null: unknown")
    questions: dict[str, Any] = key({}, "split -> VQA v2 question file (.json, .json.gz) or a list of them", path=True)
    annotations: dict[str, Any] = key({}, "split -> VQA v2 annotation file or a list of them", path=True)
    features: list[str] = key([], "feature stores (.h5) that hold the images; []: question only", path=True)
    fit: list[str] = key(["train"], "splits to train on; [train, val] for a test submission")
    select: str = key("val", "split that picks the best epoch")
    test: str | None = key(None, "split that is evaluated after training; null: none")
    words_from: list[str] = key(["train", "val", "test"], "splits whose questions make the vocabulary (published: all)")
    answers_from: list[str] = key(["train", "val"], "splits whose answers are counted (published: train and val)")
    answers_file: str | None = key(None, "JSON list of answers in label order instead of counting", path=True)
    min_answer_count: int = key(9, "an answer is kept when so many questions have it (published: above 8)", low=1)
    normalize_answers: bool = key(True, "match normalised answers; false: the published code's raw matching")
    question_length: int = key(14, "first tokens of a question that are read", low=1)
    unknown_words: str = key("skip", "a word outside the vocabulary is skipped or an error", choices=("skip", "error"))
    max_regions: int | None = key(None, "use the first so many regions of an image; null: all", low=1)
    glove: str | None = key(None, "GloVe text file (300-d) that initialises words and answers", path=True)
    answer_images: str | None = key(None, ".npy matrix (answers, D) that initialises the image stream", path=True)
    visual_genome: str | None = key(None, "Visual Genome question_answers.json as extra training data", path=True)
    visual_genome_images: str | None = key(None, "Visual Genome image_data.json: maps its images to COCO's", path=True)
    batch_size: int = key(512, "questions in a training batch, over all processes", low=1)
    eval_batch_size: int = key(1024, "questions in an evaluation batch, over all processes", low=1)
    group_by_image: bool = key(False, "train on whole images: all questions of an image in one batch (faster)")
    resident: bool = key(False, "keep all features in the device's memory; the loader moves only row numbers")
    limit: int | None = key(None, "only the first so many questions of each split", low=1)
    cache: str = key("outputs/.cache", "folder of parsed files")
    seed: int = key(1, "order of the training batches")

    @staticmethod
    def train_faults(data: DictConfig, model: DictConfig) -> list[str]:
        """What does not fit together in a training run with these data."""
        faults = []
        if model.get("attention", "none") != "none" and not data.features:
            faults.append(
                f"data.features is empty but model.attention={model.attention} needs an image: give feature stores, "
                "or model.attention=none for a question-only model"
            )
        there = listing(sorted(str(split) for split in data.annotations))
        needs = {*data.fit, data.select, *data.answers_from} - set(data.annotations)
        why = f"but it is trained on, selected by or counted; it has {there}"
        return faults + [f"data.annotations has no split '{split}' {why}" for split in sorted(needs)]


@dataclass
class UpDownVQA:
    _target_: str = "limner.models.updown_vqa.UpDownVQA"
    embed_dim: int = key(300, "size of a word vector", low=1)
    hidden: int = key(1024, "size of the question state and of the fused representation", low=1)
    encoder: str = key("gru", "question encoder", choices=("gru", "lstm"))
    layers: int = key(1, "layers of the encoder", low=1)
    bidirectional: bool = key(False, "read questions in both directions")
    encode_padding: bool = key(True, "start from the state after the left padding (published); false: from zero")
    activation: str = key("relu", "non-linearity of every layer", choices=ACTIVATIONS)
    attention: str = key("product", "how regions are weighted; none: the image is not used",
                         choices=("product", "concat", "mean", "none"))  # fmt: skip
    glimpses: int = key(1, "attention maps", low=1)
    normalize_features: bool = key(False, "scale each region's feature to length 1")
    weight_norm: bool = key(True, "weight normalisation with one scale a layer")
    classifier: str = key("single", "output layer; two_stream: text and image", choices=("single", "two_stream"))
    classifier_hidden: int = key(2048, "size of the classifier's hidden layer", low=1)
    image_answer_dim: int = key(2048, "size of an answer's image vector (two_stream)", low=1)
    dropout_embedding: float = key(0.0, "dropout on word vectors", low=0, high=0.99)
    dropout_attention: float = key(0.2, "dropout inside the attention", low=0, high=0.99)
    dropout_classifier: float = key(0.5, "dropout before the output layer", low=0, high=0.99)


@dataclass
class VQATask:
    _target_: str = "limner.tasks.vqa.VQATask"
    loss: str = key("soft_bce", "training loss", choices=("soft_bce", "hard_bce", "softmax", "kl"))
