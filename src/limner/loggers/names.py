"""The names of everything a run logs: one list for metrics.jsonl, wandb, dashboards, reports and docs/dashboards.md.

A name never changes its meaning between tasks or versions; a new thing to log gets a line here first.

`train/...`, `grad/...` and `lr` belong to one optimiser step, as `speed/...` does to the steps since the line before.
`val/...` are the scores of a validation, `test/...` those of the best epoch on the split that `data.test` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

VQA, CAPTIONS, DIALOG, PRETRAINING = "vqa", "captioning", "visdial", "visdial_pretraining"
TASKS = (VQA, CAPTIONS, DIALOG, PRETRAINING)
VILBERT = (DIALOG, PRETRAINING)
EXAMPLES, EXAMPLES_EACH = "examples", "examples/validations"
"""Names of wandb's tables of examples: at the end, and after each validation."""


class Metric(NamedTuple):
    """One logged value."""

    name: str  #: as logged; of a score what follows `val/` and `test/`
    about: str  #: what it is, with its unit
    tasks: tuple[str, ...] = TASKS
    better: str = ""  #: max or min; empty: neither is better
    often: bool = True  #: of a score: each validation has it, not only the test


STEPS = (
    Metric("epoch", "epoch, counted from 0"),
    Metric("lr", "learning rate of the step"),
    Metric("train/loss", "the loss that is optimised, a mean over what it counts", better="min"),
    Metric("train/scst", "self-critical loss, where cross-entropy is mixed in", (CAPTIONS,)),
    Metric("train/xe", "cross-entropy, where it is mixed in", (CAPTIONS,)),
    Metric("train/sample_reward", "SCST: mean reward of the samples", (CAPTIONS,), "max"),
    Metric("train/greedy_reward", "SCST: mean reward of greedy captions (scst.baseline=greedy)", (CAPTIONS,), "max"),
    Metric("train/baseline", "SCST: mean baseline", (CAPTIONS,)),
    Metric("train/advantage_std", "SCST: standard deviation of reward - baseline", (CAPTIONS,)),
    Metric("train/length", "SCST: words in a sample", (CAPTIONS,)),
    Metric("train/ended", "SCST: samples that end by themselves, %", (CAPTIONS,)),
    Metric("train/bad_endings", "SCST: samples that end with a word such as `a` or `of`, %", (CAPTIONS,), "min"),
    Metric("train/alignment", "loss of right and wrong answers (texts)", VILBERT, "min"),
    Metric("train/words", "loss of masked words", VILBERT, "min"),
    Metric("train/regions", "loss of masked regions", VILBERT, "min"),
    Metric("train/relevance", "loss of the relevance of options (dense stages)", (DIALOG,), "min"),
    Metric("grad/norm", "norm of all gradients, before clipping"),
)
PARTS = {
    VQA: ("question", "attention", "question_net", "region_net", "classifier"),
    CAPTIONS: ("words", "region_net", "global_net", "attention", "attention_lstm", "language_lstm", "word_layer"),
    DIALOG: ("text_embedding", "image_embedding", "encoder", "alignment_head", "words_head", "regions_head"),
}
PARTS[PRETRAINING] = PARTS[DIALOG]
"""The parts of each model whose gradients have a norm of their own, `grad/PART`."""
SPEED = (
    Metric("speed/items", "items trained a second, on all processes", better="max"),
    Metric("speed/waiting", "share of the time that training waited for data, %", better="min"),
    Metric("speed/memory", "memory of the first process, GiB (features read from the page cache included)"),
    Metric("speed/gpu_memory", "most GPU memory the first process has held so far, GiB"),
)
SCORES = (
    Metric("score", "VQA accuracy, CIDEr-D, MRR or NDCG, pairs told right: what picks the best epoch, %", better="max"),
    Metric("accuracy/yes_no", "VQA accuracy on yes/no questions, %", (VQA,), "max"),
    Metric("accuracy/number", "VQA accuracy on questions for numbers, %", (VQA,), "max"),
    Metric("accuracy/other", "VQA accuracy on other questions, %", (VQA,), "max"),
    Metric("cider_d", "CIDEr-D x 100", (CAPTIONS,), "max"),
    Metric("cider", "CIDEr x 100", (CAPTIONS,), "max", often=False),
    Metric("bleu_1", "BLEU-1, %", (CAPTIONS,), "max"),
    Metric("bleu_2", "BLEU-2, %", (CAPTIONS,), "max", often=False),
    Metric("bleu_3", "BLEU-3, %", (CAPTIONS,), "max", often=False),
    Metric("bleu_4", "BLEU-4, %", (CAPTIONS,), "max"),
    Metric("rouge_l", "ROUGE-L, %", (CAPTIONS,), "max", often=False),
    Metric("meteor", "METEOR, % (needs Java)", (CAPTIONS,), "max", often=False),
    Metric("spice", "SPICE, % (needs Java)", (CAPTIONS,), "max", often=False),
    Metric("length", "words in a caption", (CAPTIONS,)),
    Metric("ended", "captions that end by themselves, %", (CAPTIONS,)),
    Metric("bad_endings", "captions that end with a word such as `a` or `of`, %", (CAPTIONS,), "min"),
    Metric("ndcg", "NDCG over judged rounds, %", (DIALOG,), "max"),
    Metric("mrr", "mean reciprocal rank, %", (DIALOG,), "max"),
    Metric("r1", "answers ranked first, %", (DIALOG,), "max"),
    Metric("r5", "answers ranked fifth or better, %", (DIALOG,), "max"),
    Metric("r10", "answers ranked tenth or better, %", (DIALOG,), "max"),
    Metric("mean_rank", "mean rank of the answer", (DIALOG,), "min"),
    Metric("loss", "the loss that training lowers", (PRETRAINING,), "min"),
    Metric("alignment", "its part of right and wrong texts", (PRETRAINING,), "min"),
    Metric("words", "its part of masked words", (PRETRAINING,), "min"),
    Metric("regions", "its part of masked regions", (PRETRAINING,), "min"),
    Metric("right_words", "masked words that are found, %", (PRETRAINING,), "max"),
)


def grad_names(parts: Iterable[str]) -> list[str]:
    """The names of the gradient norms of a model with these parts."""
    return ["grad/norm", *(f"grad/{part}" for part in parts)]


def in_training(task: str) -> list[str]:
    """Every name that a run of a task may log while it trains; see `TASKS`."""
    steps = [one.name for one in STEPS if task in one.tasks and one.name != "grad/norm"]
    scores = [f"val/{one.name}" for one in SCORES if task in one.tasks and one.often]
    return [*steps, *grad_names(PARTS[task]), *(one.name for one in SPEED), *scores]


def in_test(task: str) -> list[str]:
    """Every name that the evaluation after a training may log."""
    return [f"test/{one.name}" for one in SCORES if task in one.tasks]


def better(name: str) -> str:
    """Whether more of a score is better (`max`, `min`); empty where neither is, or nobody knows it."""
    score = name.partition("/")[2]
    return next((one.better for one in SCORES if one.name == score), "")


def task_of(target: str) -> str:
    """The task whose class a configuration names, `limner.tasks.vqa.VQATask` -> `vqa`; empty for one's own."""
    module = target.rpartition(".")[0].removeprefix("limner.tasks.")
    return PRETRAINING if module == "vilbert_pretraining" else module if module in TASKS else ""
