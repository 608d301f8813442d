"""What `limner predict` reads for dialogs: files of dialogs, files of candidates, the regions of an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.dialog_regions import ImageInput
from limner.data.visdial_files import from_dialogs, load_split
from limner.data.visdial_split import VisDialSplit
from limner.errors import UserError, listing
from limner.inference.dialog_ranking import DialogRanker


def read_dialogs(path: str | Path) -> VisDialSplit:
    """Dialogs of a file: VisDial's JSON, or a list of dialogs with texts in place of numbers.

    Raises:
        UserError: the file is missing, or something else.
    """
    found = read_list(path)
    return load_split(path) if found is None else from_dialogs(found, str(path))


def read_questions(path: str | Path) -> tuple[VisDialSplit, np.ndarray]:
    """As `read_dialogs`, but any round of a list may lack its answer; and which rounds lack it (N,) bool."""
    found = read_list(path)
    if found is None:
        split = load_split(path)
        return split, split.answer < 0
    split = from_dialogs([filled(dialog) for dialog in found], str(path))
    return split, np.array(["answer" not in said for dialog in found for said in dialog["dialog"]], bool)


def read_list(path: str | Path) -> list[Any] | None:
    """A JSON list; None for a file that begins as something else, e.g. as VisDial's, or is packed or missing."""
    try:
        with open(path, encoding="utf-8") as file:
            if not file.read(64).lstrip().startswith("["):
                return None
            file.seek(0)
            return json.load(file)
    except (OSError, UnicodeDecodeError):
        return None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not JSON ({error}); expected a list of dialogs, or VisDial's file") from None


def filled(dialog: Any) -> Any:
    """A dialog with empty answers where there are none; one of another form as it is, for `from_dialogs` to refuse."""
    if not isinstance(dialog, dict) or not isinstance(dialog.get("dialog"), list):
        return dialog
    rounds = [{"answer": "", **said} if isinstance(said, dict) else said for said in dialog["dialog"]]
    return {**dialog, "dialog": rounds}


def about(split: VisDialSplit, rounds: np.ndarray, images: Sequence[int] | None) -> np.ndarray:
    """Those of some rounds whose dialog is about one of the images; None: all.

    Raises:
        UserError: no dialog is about one of the images.
    """
    if images is None:
        return rounds
    wanted = np.array(list(images), np.int64)
    unknown = wanted[~np.isin(wanted, split.image_id)].tolist()
    if unknown:
        raise UserError(f"images: no dialog of the questions is about {listing(unknown)}; leave them out")
    return rounds[np.isin(split.image_id[split.dialog[rounds]], wanted)]


def read_candidates(path: str | Path) -> list[str]:
    """Distinct texts of a file, in its order: a JSON list, or one text a line.

    Raises:
        UserError: the file cannot be read, is a JSON list of something else, or holds no texts.
    """
    try:
        content = Path(path).read_text(encoding="utf-8")
        found = json.loads(content) if content.lstrip().startswith("[") else content.splitlines()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read ({told}); expected a JSON list of texts, or one text a line") from None
    wrong = [text for text in found if not isinstance(text, str)]
    if wrong:
        raise UserError(f"{path}: has {wrong[0]!r} in it, expected a JSON list of texts, or one text a line")
    texts = list(dict.fromkeys(text.strip() for text in found if text.strip()))
    if not texts:
        raise UserError(f"{path}: holds no texts; expected candidate answers: a JSON list, or one text a line")
    return texts


def look(ranker: DialogRanker, store: Any, image: int) -> ImageInput | None:
    """An image of the features as the model sees it; None for a model that reads only the text."""
    if store is None or not ranker.sees:
        return None
    place = store.positions(np.array([image]))
    regions, (width, height) = store.read(place), store.size(int(place[0]))
    count = int(regions.mask.sum())
    known = bool(width and height)
    return ranker.seen(
        regions.feats[0, :count],
        regions.boxes[0, :count] if known else None,
        (width, height) if known else None,
    )
