"""Visual dialog for `limner predict`: the options of each question are ranked, after the dialog before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError, listing
from limner.inference.dialog_files import about, look, read_dialogs
from limner.inference.dialog_mode import go_on
from limner.inference.dialog_ranking import DialogEnsemble, DialogRanker, Ranked, one_model
from limner.inference.dialog_talk import Talk
from limner.metrics.rows import Row
from limner.metrics.visdial import ranks
from limner.submit_visdial import write_visdial_submission
from limner.weights.package import Package

__all__ = ["MODES", "SUBMISSION", "DialogEnsemble", "DialogRanker", "Predictor", "Ranked", "Talk", "one_model",
           "predict", "trial"]  # fmt: skip


def trial(package: Package, features: np.ndarray, *, device: str) -> str:
    """Ranks two answers about (R, D) features, for `limner load`; what was done, in words."""
    ranker = DialogRanker([package], device=device)
    found = ranker.rank(features if ranker.sees else None, dialog={}, question="is it", candidates=["yes", "no"])
    return f"two answers are ranked ({found[0].answer!r} first)"


Predictor = DialogRanker
SUBMISSION = write_visdial_submission
MODES = ("single", "dialog")


def predict(ranker: DialogRanker, store: Any, config: Any) -> tuple[Iterator[Row], int | None]:
    """Rows of the rounds that a dialog file (`questions`) wants ranked, in its order, and how many.

    With mode=dialog rows of the questions that are answered; how many is None when they come from the terminal.
    """
    if config.mode == "dialog":
        return go_on(ranker, store, config)
    if config.questions is None:
        raise UserError(
            "questions: the model ranks answers in dialogs: give VisDial's file or a list of dialogs, or ask it "
            "yourself with mode=dialog"
        )
    split = read_dialogs(config.questions)
    there = np.bincount(split.dialog, split.option_counts, len(split)) > 0
    if not there.all():
        bare = listing(split.image_id[~there][:5].tolist(), int((~there).sum()))
        raise UserError(
            f"{config.questions}: dialogs have no answer_options to rank: images {bare}; add some, or let the model "
            "answer with mode=dialog"
        )
    rounds = about(split, split.ranked, config.images)
    return rows(ranker, store, split, rounds), len(rounds)


def rows(ranker: DialogRanker, store: Any, split: VisDialSplit, rounds: np.ndarray) -> Iterator[Row]:
    """A row a round: `ranks` and `scores` of its options in their order, and the best five."""
    for dialog in np.unique(split.dialog[rounds]).tolist():
        own, image = rounds[split.dialog[rounds] == dialog], int(split.image_id[dialog])
        one, seen = split.take([dialog]), look(ranker, store, image)
        for number, scores in zip(own.tolist(), ranker.scores(one, own - split.first[dialog], seen)):
            given = ranks(scores)
            texts = [split.answers[option] for option in split.options_of(number).tolist()]
            best = np.argsort(given)[:5].tolist()
            yield {
                "id": 100 * image + int(split.round_id[number]),
                "image_id": image,
                "round_id": int(split.round_id[number]),
                "question": split.questions[split.question[number]],
                "ranks": given.tolist(),
                "scores": [round(value, 5) for value in scores.tolist()],
                "best": [[texts[place], round(float(scores[place]), 5)] for place in best],
            }
