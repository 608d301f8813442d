"""Dialogs of the toy world cut short, in files of their own: few rounds, few options, one round of each judged."""

from __future__ import annotations

import json
from pathlib import Path

ROUNDS, OPTIONS = 3, 6


def cut(toy: Path, folder: Path, **dialogs: int) -> list[str]:
    """Writes the first so many dialogs of each split (`train=14`); returns the words of a command line that takes
    them."""
    words = []
    for split, count in dialogs.items():
        file = json.loads((toy / f"visdial_1.0_{split}.json").read_text())
        chosen = file["data"]["dialogs"] = file["data"]["dialogs"][:count]
        if split == "test":  # answers are hidden, and only the last round has options
            for dialog in chosen:
                dialog["dialog"][-1]["answer_options"] = dialog["dialog"][-1]["answer_options"][:OPTIONS]
        else:
            name, judged = folder / f"{split}_dense.json", [_shorten(dialog) for dialog in chosen]
            name.write_text(json.dumps(judged))
            words.append(f"data.dense.{split}={name}")
        (folder / f"{split}.json").write_text(json.dumps(file))
        words.append(f"data.dialogs.{split}={folder / split}.json")
    return words


def _shorten(dialog: dict) -> dict:
    """Keeps the first rounds of a dialog, and some of their options; returns relevances of the last one's."""
    dialog["dialog"] = dialog["dialog"][:ROUNDS]
    for place, said in enumerate(dialog["dialog"]):
        others = [option for option in said["answer_options"] if option != said["answer"]][: OPTIONS - 1]
        said |= {"answer_options": [*others[:place], said["answer"], *others[place:]], "gt_index": place}
    shares = [(dialog["image_id"] + option) % 4 / 4 for option in range(OPTIONS)]
    return {"image_id": dialog["image_id"], "round_id": ROUNDS, "gt_relevance": shares}
