"""Files of the size of VisDial 1.0 under its names: dialogs of ten rounds with 100 options each, word parts, features.

376,593 questions and 337,527 answers in the training file with lengths as in VisDial; 30,522 word parts, whole words.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from made_store import write_store
from made_texts import texts
from sizes import DIALOG_ANSWERS, DIALOG_CAPTIONS, DIALOG_OPTIONS, DIALOG_QUESTIONS

SPLITS = {"train": 123_287, "val": 2_064}
DENSE = {"train": 2_000, "val": 2_064}
"""dialogs and, of these, dense annotations of each split"""
QUESTIONS, ANSWERS = 376_593, 337_527
ROUNDS, OPTIONS, WORDS = 10, 100, 30_522
SIGNS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FOLDER = "visdial"
TRAIN = ["experiment=visdial", "data.vocabulary=${data.folder}/vocab.txt"]


def write(folder: Path, rng: np.random.Generator, *, share: float, filled: int) -> None:
    """Writes a share of each split into a folder."""
    (folder / "vocab.txt").write_text("\n".join(SIGNS + [f"w{word}" for word in range(WORDS - len(SIGNS))]) + "\n")
    next_image = 1
    for name, dialogs in SPLITS.items():
        dialogs = max(round(dialogs * share), 10)
        images = np.arange(next_image, next_image + dialogs)
        next_image += dialogs
        write_dialogs(folder / f"visdial_1.0_{name}.json", images, rng)
        write_dense(folder / f"visdial_1.0_{name}_dense_annotations.json", images[: DENSE[name]])
    write_store(folder / "regions36.h5", np.arange(1, next_image), filled=filled, rng=rng)


def write_dense(path: Path, images: np.ndarray) -> None:
    """A file of dense annotations: one round of each image, one option relevant."""
    relevance = [0.0] * (OPTIONS - 1) + [1.0]
    records = [
        {"image_id": image, "round_id": 1 + image % ROUNDS, "gt_relevance": relevance} for image in images.tolist()
    ]
    path.write_text(json.dumps(records))


def write_dialogs(path: Path, images: np.ndarray, rng: np.random.Generator) -> None:
    """A dialog file; half of the options are frequent answers, half are any."""
    part = len(images) / SPLITS["train"]
    questions = texts(max(round(QUESTIONS * part), 10), DIALOG_QUESTIONS, 1, WORDS - len(SIGNS), rng)
    wrong = max(round(ANSWERS * part / 2), 2 * OPTIONS)  # the first half; answers given are those of the second
    answers = [
        text for lengths in (DIALOG_OPTIONS, DIALOG_ANSWERS) for text in texts(wrong, lengths, 1, WORDS - 5, rng)
    ]
    captions = texts(len(images), DIALOG_CAPTIONS, 8, WORDS - len(SIGNS), rng)
    with open(path, "w") as file:
        file.write('{"split": "train", "version": "1.0", "data": {"questions": ' + json.dumps(questions))
        file.write(', "answers": ' + json.dumps(answers) + ', "dialogs": [')
        for place, (image, caption) in enumerate(zip(images.tolist(), captions)):
            options = rng.integers(0, wrong, (ROUNDS, OPTIONS))
            options[:, ::2] //= 100
            truths = rng.integers(0, OPTIONS, ROUNDS)
            options[np.arange(ROUNDS), truths] = rng.integers(wrong, 2 * wrong, ROUNDS)
            asked = rng.integers(0, len(questions), ROUNDS).tolist()
            talk = [
                {"answer": chosen[truth], "gt_index": truth, "answer_options": chosen, "question": question}
                for chosen, truth, question in zip(options.tolist(), truths.tolist(), asked)
            ]
            file.write((", " if place else "") + json.dumps({"image_id": image, "caption": caption, "dialog": talk}))
        file.write("]}}")
