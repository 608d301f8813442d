"""Which published model a checkpoint belongs to, by the names in it: for error lines that say where to go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from limner.errors import UserError


class Published(NamedTuple):
    """`kind`: of `limner import`, or None where no command reads it; `what`: whose checkpoint; `advice`: the way."""

    kind: str | None
    what: str
    advice: str


def _import(kind: str, what: str) -> Published:
    return Published(kind, what, f"limner import {kind}")


HU = _import("hu-vqa", "bottom-up-attention-vqa")
RT = _import("ruotianluo", "ImageCaptioning.pytorch (updown, topdown)")
VISDIAL = _import("vilbert", "visdial-bert")
VILBERT = _import("vilbert", "vilbert_beta")
BERT = _import("bert", "BERT")
CAFFE = _import("caffe-captioner", "the Up-Down captioner's Caffe release")
OTHER_RT = Published(
    None, "ImageCaptioning.pytorch, but of another model than updown and topdown", "no command reads it"
)
OWN = Published(None, "limner itself", "take the run's package (RUN/package), with weights=RUN or model=RUN/package")

PREFIXES = ("module.", "model.")  # nn.DataParallel's, Lightning's
SIGNS: tuple[tuple[Published, tuple[str, ...]], ...] = (
    (HU, ("w_emb.emb.", "q_emb.rnn.")),
    (RT, ("core.att_lstm.", "embed.0.")),
    (VISDIAL, ("bert_pretrained.",)),
    (VILBERT, ("bert.v_embeddings.",)),
    (VILBERT, ("v_embeddings.",)),
    (BERT, ("bert.embeddings.word_embeddings.",)),
    (BERT, ("embeddings.word_embeddings.",)),
    (CAFFE, ("hidden_att_0.", "predict_att_0.")),
    (OWN, ("question.words.", "question_net.")),
    (OWN, ("attention_lstm.", "language_lstm.")),
    (OWN, ("text_embedding.words.", "alignment_head.")),
    (OTHER_RT, ("logit.", "embed.")),
    (OTHER_RT, ("model.encoder.", "model.generator.")),
)
"""Name beginnings that must all be there; the first row that fits tells."""


def recognise(names: Iterable[str]) -> Published | None:
    """Whose checkpoint has these names; None: nobody's that is known here."""
    found = list(names)
    forms = [found, *([_without(prefix, found) for prefix in PREFIXES])]
    for published, signs in SIGNS:
        for form in forms:
            if all(any(name.startswith(sign) for name in form) for sign in signs):
                return published
    return None


def refuse_other(names: Iterable[str], kind: str) -> None:
    """Refuses a checkpoint that is known to be another kind's.

    Raises:
        UserError: that says whose it is and which command reads it.
    """
    found = recognise(names)
    if found is not None and found.kind != kind:
        raise UserError(f"this is a checkpoint of {found.what}: {found.advice}")


def _without(prefix: str, names: list[str]) -> list[str]:
    return [name.removeprefix(prefix) for name in names]
