"""A dialog that goes on: the model answers with its best candidate, and has said so when the next question comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.data.dialog_regions import ImageInput
    from limner.inference.dialog_ranking import DialogRanker, Ranked

USUAL = 100
"""Candidates for an answer where nobody says how many: as many as VisDial has options."""


class Talk:
    """A dialog about one image; `DialogRanker.dialog` makes it.

    Args:
        ranker: ranks the candidates.
        seen: the image as the ranker sees it; None for a model that reads only the text.
        caption: of the image.
        said: questions and answers so far, `{"question": "is it big", "answer": "yes"}`.
        candidates: what answers are chosen from.

    Attributes:
        said: as above, of all rounds so far; one may change it, e.g. to correct an answer.
    """

    def __init__(
        self,
        ranker: DialogRanker,
        seen: ImageInput | None,
        caption: str = "",
        said: Sequence[Mapping[str, str]] = (),
        candidates: Sequence[str] = (),
    ) -> None:
        self.ranker, self.seen, self.caption, self.usual = ranker, seen, caption, candidates
        self.said: list[dict[str, str]] = [dict(one) for one in said]

    def ask(self, question: str, candidates: Sequence[str] | None = None) -> list[Ranked]:
        """The candidates for the answer, best first; the best one becomes part of the dialog.

        Args:
            candidates: for this question alone; None: those of the dialog.

        Raises:
            UserError: the question is no text, no candidates, or `said` was changed to something else.
        """
        chosen = self.ranker.candidates(self.usual if candidates is None else candidates)
        found = self.ranker.after({"caption": self.caption, "dialog": self.said}, question, chosen, self.seen)
        self.said.append({"question": question, "answer": found[0].answer})
        return found
