"""Small dialogs in VisDial's JSON, and a plain view of what was read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.visdial_split import VisDialSplit
from limner.data.wordpiece import SIGNS, WordPiece

WORDS = ["a", "the", "red", "big", "dog", "cat", "ball", "is", "it", "there", "how", "many", "on", "left", "yes", "no",
         "two", "##s", "##ing", "play"]  # fmt: skip


def words() -> WordPiece:
    return WordPiece([*SIGNS, *WORDS])


def content(
    seed: int = 0, *, dialogs: int = 4, rounds: int = 3, options: int = 5, split: str = "val", longest: int = 4
) -> dict[str, Any]:
    """A dialog file; a test split hides answers as the published one does."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choice(WORDS[:-3]) for _ in range(rng.randint(1, longest)))

    questions = [text() for _ in range(12)]
    answers = [text() for _ in range(20)]
    told = []
    for number in range(dialogs):
        talk = []
        for _ in range(rounds if split != "test" else rng.randint(1, rounds)):
            chosen = rng.sample(range(20), options)
            truth = rng.randrange(options)
            said = {"question": rng.randrange(12), "answer": chosen[truth], "gt_index": truth}
            talk.append({**said, "answer_options": chosen})
        if split == "test":
            talk = [{"question": said["question"], "answer": said["answer"]} for said in talk[:-1]] + [
                {name: talk[-1][name] for name in ("question", "answer_options")}
            ]
        told.append({"image_id": 100 + 7 * number, "caption": text(), "dialog": talk})
    return {"version": "1.0", "split": split, "data": {"questions": questions, "answers": answers, "dialogs": told}}


def judged(file: dict[str, Any], seed: int = 0, name: str = "gt_relevance") -> list[dict[str, Any]]:
    """Dense annotations of every dialog of a file."""
    rng = random.Random(seed)
    found = []
    for dialog in file["data"]["dialogs"]:
        number = rng.randrange(len(dialog["dialog"]))
        count = len(dialog["dialog"][number]["answer_options"])
        shares = [rng.choice([0, 0, 0.4, 1.0]) for _ in range(count)]
        shares[rng.randrange(count)] = 1.0
        found.append({"image_id": dialog["image_id"], "round_id": number + 1, name: shares})
    return found


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def told(split: VisDialSplit) -> list[dict[str, Any]]:
    """The dialogs of a split as plain texts."""
    shares = {
        number: split.relevance[split.dense_first[k] : split.dense_first[k + 1]].tolist()
        for k, number in enumerate(split.dense.tolist())
    }
    found = []
    for d, image in enumerate(split.image_id.tolist()):
        talk = []
        for n in range(split.first[d], split.first[d + 1]):
            answer = split.answer[n]
            talk.append(
                {
                    "round_id": int(split.round_id[n]),
                    "question": split.questions[split.question[n]],
                    "answer": split.answers[answer] if answer >= 0 else None,
                    "gt_index": int(split.gt_index[n]),
                    "options": [split.answers[option] for option in split.options_of(n).tolist()],
                    "relevance": shares.get(n),
                }
            )
        found.append({"image_id": image, "caption": split.captions[d], "dialog": talk})
    return found


def expected(file: dict[str, Any], dense: list[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """What `told` shall give for a file: by the meaning of its JSON."""
    data = file["data"]
    shares = {(one["image_id"], one["round_id"]): one.get("gt_relevance", one.get("relevance")) for one in dense}
    return [
        {
            "image_id": dialog["image_id"],
            "caption": dialog["caption"],
            "dialog": [
                {
                    "round_id": number,
                    "question": data["questions"][said["question"]],
                    "answer": data["answers"][said["answer"]] if "answer" in said else None,
                    "gt_index": said.get("gt_index", -1),
                    "options": [data["answers"][option] for option in said.get("answer_options", ())],
                    "relevance": _float32(shares.get((dialog["image_id"], number))),
                }
                for number, said in enumerate(
                    dialog["dialog"], start=1 + dialog.get("round_id", len(dialog["dialog"])) - len(dialog["dialog"])
                )
            ],
        }
        for dialog in data["dialogs"]
    ]


def _float32(shares: list[float] | None) -> list[float] | None:
    return None if shares is None else np.array(shares, np.float32).tolist()
