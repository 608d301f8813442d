"""Files of the size of VQA v2 under its names: questions, annotations with ten answers each, two feature stores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from made_store import write_store
from made_texts import texts, zipf
from sizes import QUESTION_LENGTHS

SPLITS = {"train2014": (443_757, 82_783), "val2014": (214_354, 40_504), "test2015": (447_793, 81_434)}
"""questions and images of each split"""
WORDS, ANSWERS, SAID = 19_901, 3_129, 180_000
"""words of all questions; answers that are frequent enough to be learned; different answers people gave"""
FOLDER = "vqa_v2"
KINDS = ("yes/no", "number", "other")
TRAIN = ["experiment=vqa_updown_hu", "data.glove=null"]


def write(folder: Path, rng: np.random.Generator, *, share: float, filled: int) -> None:
    """Writes a share of each split into a folder."""
    made: dict[str, np.ndarray] = {}
    next_image = 1
    for name, (questions, images) in SPLITS.items():
        questions, images = max(round(questions * share), 10), max(round(images * share), 2)
        made[name] = np.arange(next_image, next_image + images)
        next_image += images
        of_image = np.sort(rng.choice(made[name], questions))
        of_image[:images] = made[name]  # every image is asked about
        asked = texts(questions, QUESTION_LENGTHS, 3, WORDS, rng)
        ids = range(made[name][0] * 1000, made[name][0] * 1000 + questions)
        write_questions(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", ids, of_image.tolist(), asked)
        if name != "test2015":
            write_annotations(folder / f"v2_mscoco_{name}_annotations.json", ids, of_image.tolist(), rng)
    seen = np.concatenate([made["train2014"], made["val2014"]])
    write_store(folder / "trainval36.h5", seen, filled=filled, rng=rng)
    write_store(folder / "test36.h5", made["test2015"], filled=filled, rng=rng)


def write_questions(path: Path, ids: range, images: list[int], asked: list[str]) -> None:
    """The official question file; single words need no JSON escapes."""
    records = (
        f'{{"image_id": {image}, "question": "{text}?", "question_id": {number}}}'
        for number, image, text in zip(ids, images, asked)
    )
    path.write_text('{"questions": [' + ", ".join(records) + "]}")


def write_annotations(path: Path, ids: range, images: list[int], rng: np.random.Generator) -> None:
    """The official annotation file: seven of ten people agree, mostly on one of the frequent answers."""
    best = zipf(len(images), min(ANSWERS, len(images) // 10), rng, first=1)
    rare = rng.random(len(images)) < 0.06
    best[rare] = rng.integers(ANSWERS, SAID, int(rare.sum()))
    people = np.where(rng.random((len(images), 10)) < 0.7, best[:, None], rng.integers(0, SAID, (len(images), 10)))
    with open(path, "w") as file:
        file.write('{"annotations": [')
        for place, (number, image, said, most) in enumerate(zip(ids, images, people.tolist(), best.tolist())):
            answers = [
                {"answer": f"answer {one}", "answer_confidence": "yes", "answer_id": n} for n, one in enumerate(said, 1)
            ]
            record = {
                "question_type": "what is", "multiple_choice_answer": f"answer {most}", "answers": answers,
                "image_id": image, "answer_type": KINDS[place % 3], "question_id": number,
            }  # fmt: skip
            file.write((", " if place else "") + json.dumps(record))
        file.write("]}")
