"""Every config key, its type, its default and one line about it; `limner ls --keys` prints them.

The YAML files under `conf/` choose values; these dataclasses say what may be chosen. `limner.preflight` checks a
composed config against them before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from limner.schema import (
    captions_data,
    captions_model,
    captions_task,
    common,
    decode,
    scst,
    sweep,
    visdial_data,
    visdial_model,
    visdial_pretraining,
    visdial_task,
    vqa,
)
from limner.schema.keys import key, part


@dataclass
class Train:
    """conf/train.yaml"""

    name: str = key("???", "name of the experiment: its run folders stand in OUTPUTS/NAME")
    seed: int = key(1, "decides the initial weights, the order of the data and every random draw")
    resume: str | None = key(None, "run folder to continue exactly where it stopped; auto: one begun alike, or none")
    weights: str | None = key(None, "run folder or model package whose weights and vocabulary the training starts from")
    weights_vocabulary: str | None = key(
        None, "with weights. null: their words and answers; remap: those of the data, rows of shared ones carried over",
        choices=(None, "remap"),
    )  # fmt: skip
    test_after_fit: bool = key(True, "evaluate the best epoch on the split `data.test` after training")
    dropout: bool = key(True, "false: no dropout, whatever the keys of the model say")
    task: Any = key("???", "what is learned: loss, rows, score")
    model: Any = key("???", "the network")
    data: Any = key("???", "the data set")
    optim: Any = key("???", "the optimiser")
    schedule: Any = key("???", "the learning rate over time")
    decode: Any = key(None, "how captions are written in validation; null: the task writes none")
    scst: Any = key(None, "self-critical training of a captioner; null: cross-entropy only")
    sweep: Any = key(None, "a search over configurations, chosen with sweep=NAME; null: one training")
    trainer: common.Trainer = part(common.Trainer, "epochs, devices, precision")
    logger: common.Logger = part(common.Logger, "where metrics go")
    callbacks: common.Callbacks = part(common.Callbacks, "checkpoints, early stopping")
    paths: common.Paths = part(common.Paths, "folders")


@dataclass
class Evaluate:
    """conf/evaluate.yaml"""

    run: str | None = key(None, "run folder whose best model is evaluated")
    model: Any = key(None, "model package, or a list of packages: an ensemble")
    split: str = key("val", "split to evaluate")
    data: Any = key(None, "the data set; null: the one the model was trained on")
    decode: Any = key(None, "how captions are written; null: as in the model's training")
    out: str | None = key(None, "folder for rows and metrics; null: RUN/eval/SPLIT or PACKAGE/eval/SPLIT")
    submission: bool = key(False, "also write the file for the evaluation server, checked")
    trainer: common.Trainer = part(common.Trainer, "devices, precision, threads")
    paths: common.Paths = part(common.Paths, "folders")


@dataclass
class Predict:
    """conf/predict.yaml"""

    model: Any = key("???", "model package, or a list of packages: an ensemble")
    features: Any = key(None, "feature store (.h5) or a list of them; null: for a model that only reads", path=True)
    global_features: Any = key(None, "captions: store with one vector an image, or a list of them; for a model that "
                               "wants one", path=True)  # fmt: skip
    questions: str | None = key(
        None,
        "VQA: VQA v2 question JSON, or a list of {question_id, image_id, question}; dialogs: VisDial JSON, or a list "
        "of {image_id, caption, dialog: [{question, answer, answer_options}]}",
        path=True,
    )
    images: Any = key(None, "captions, dialogs: list of image ids; null: every image of the features, of the questions")
    mode: str = key("single", "single: each item by itself; dialog: a dialog model goes on round by round, its answers "
                    "are history", choices=("single", "dialog"))  # fmt: skip
    candidates: Any = key(None, "mode=dialog: file of answers to choose from (JSON list, or one a line), or how many "
                          "of the most frequent training answers; null: 100 of these", path=True)  # fmt: skip
    caption: str | None = key(None, "mode=dialog on the terminal (no questions): the caption of the image")
    keep_answers: bool = key(True, "mode=dialog: answers in the file stand; false: the model answers every question")
    decode: Any = key(None, "captions: how they are written; null: a beam of five")
    beams: bool = key(False, "captions: rows hold every caption of the beam, not only the best")
    out: str | None = key(None, "file to write: rows as JSON lines (.jsonl), or a submission (.json); null: a dialog "
                          "on the terminal that is not kept")  # fmt: skip
    format: str = key("rows", "rows: prediction, runners-up, attention; submission: the evaluation server's list",
                      choices=("rows", "submission"))  # fmt: skip
    batch_size: int = key(512, "items in a batch", low=1)
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    threads: int | None = key(None, "threads to compute with; null: what torch chooses")


VERBS = {"train": Train, "evaluate": Evaluate, "predict": Predict}
GROUPS = {
    "trainer": common.Trainer, "logger": common.Logger, "callbacks": common.Callbacks, "paths": common.Paths,
    "sweep": sweep.Sweep,
}  # fmt: skip
TARGETED = (
    common.Adamax, common.Adadelta, common.Adam, common.AdamW, common.SGD,
    common.Constant, common.Linear, common.Steps, common.XEThenSCST,
    vqa.VQAData, vqa.UpDownVQA, vqa.VQATask,
    captions_data.CaptionData, captions_model.UpDownCaptioner, captions_task.CaptioningTask,
    decode.Greedy, decode.Sample, decode.Beam, decode.DiverseBeam, scst.SCST,
    visdial_data.VisDialData, visdial_model.ViLBERT, visdial_model.BertAdamW, visdial_task.VisDialTask,
    visdial_pretraining.CaptionPairs, visdial_pretraining.QuestionPairs, visdial_pretraining.PretrainingTask,
)  # fmt: skip


def target_of(cls: type) -> str:
    """The `_target_` that a config dataclass describes."""
    default = next(f.default for f in fields(cls) if f.name == "_target_")
    assert default is not MISSING
    return default


def schema_for(node: Any, group: str) -> type | None:
    """The dataclass that describes a config node: by its `_target_`, else by its group; None for a user's own class."""
    target = node.get("_target_") if node is not None and hasattr(node, "get") else None
    if target is None:
        return GROUPS.get(group)
    return next((cls for cls in TARGETED if target_of(cls) == target), None)
