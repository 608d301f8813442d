"""`limner predict mode=dialog`: the model answers question after question, from a file or on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError
from limner.inference.dialog_files import about, look, read_candidates, read_questions
from limner.inference.dialog_ranking import DialogRanker
from limner.inference.dialog_talk import USUAL, Talk
from limner.metrics.rows import Row

if TYPE_CHECKING:
    from limner.inference.dialog_ranking import Ranked


def go_on(ranker: DialogRanker, store: Any, config: Any) -> tuple[Iterator[Row], int | None]:
    """Rows of the answered questions, and how many; None when they come from standard input."""
    if config.questions is None:
        return converse(ranker, store, config), None
    split, unanswered = read_questions(config.questions)
    if not config.keep_answers:
        unanswered = np.ones(split.rounds, bool)
    rounds = about(split, np.flatnonzero(unanswered), config.images)
    if not len(rounds):
        raise UserError(
            f"{config.questions}: every question has its answer; leave out those that the model shall give, or let it "
            "give all: keep_answers=false"
        )
    needed = (split.option_counts[rounds] == 0).any()  # others bring candidates of their own
    return rows(ranker, store, split, rounds, candidates_of(ranker, config) if needed else ()), len(rounds)


def candidates_of(ranker: DialogRanker, config: Any) -> list[str]:
    """Texts of the file `candidates`, or the most frequent training answers."""
    given = USUAL if config.candidates is None else config.candidates
    return ranker.candidates(given if isinstance(given, int) else read_candidates(given))


def rows(
    ranker: DialogRanker, store: Any, split: VisDialSplit, rounds: np.ndarray, candidates: Sequence[str]
) -> Iterator[Row]:
    """A row for each of `rounds`, which the model answers; the other rounds keep the answers of the file."""
    for dialog in np.unique(split.dialog[rounds]).tolist():
        own, image = rounds[split.dialog[rounds] == dialog].tolist(), int(split.image_id[dialog])
        talk = Talk(ranker, look(ranker, store, image), split.captions[dialog], candidates=candidates)
        for number in range(int(split.first[dialog]), own[-1] + 1):
            question, answer = split.said(number)
            if number not in own:
                talk.said.append({"question": question, "answer": answer})
                continue
            options = [split.answers[option] for option in split.options_of(number).tolist()]
            yield row_of(image, int(split.round_id[number]), question, talk.ask(question, options or None))


def converse(ranker: DialogRanker, store: Any, config: Any) -> Iterator[Row]:
    """Questions from standard input, line by line, until an empty one or the end; each answer is printed and a row."""
    image = int(config.images[0]) if config.images else 0
    talk = Talk(ranker, look(ranker, store, image), config.caption or "", (), candidates_of(ranker, config))
    on_terminal = sys.stdin.isatty()
    if on_terminal:
        print(f"{len(talk.usual):,} candidates; an empty line ends the dialog", flush=True)
    while question := next_question("> " if on_terminal else ""):
        found = talk.ask(question)
        others = ", ".join(f"{one.answer} ({one.score:.2f})" for one in found[1:3])
        print(f"{found[0].answer} ({found[0].score:.2f})" + (f"; then {others}" if others else ""), flush=True)
        yield row_of(image, len(talk.said), question, found)


def next_question(prompt: str) -> str:
    """A line of standard input; empty at its end."""
    try:
        return input(prompt).strip()
    except EOFError:
        return ""
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 ({error}); expected a question a line") from None


def row_of(image: int, number: int, question: str, found: Sequence[Ranked]) -> Row:
    """The row of an answered question, with the best five candidates."""
    best = [[one.answer, round(one.score, 5)] for one in found[:5]]
    row: Row = {"id": 100 * image + number, "image_id": image, "round_id": number, "question": question}
    return {**row, "answer": best[0][0], "score": best[0][1], "best": best}
