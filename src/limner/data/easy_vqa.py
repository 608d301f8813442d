"""The data set easy-VQA in the format of VQA v2: 5,000 pictures of one shape each, 48,248 questions by others.

The PyPI package `easy-vqa` (MIT, Victor Zhou) brings the pictures and the questions. They keep their wording; each
answer is given ten times. Its test set stays the test set, an eighth of its training pictures becomes val.

    DIR/images/{train,val,test}/easyvqa_SPLIT_000000010042.png
        v2_OpenEnded_easyvqa_{split}_questions.json, v2_easyvqa_{split}_annotations.json
        regions.h5                                          connected components, see `limner.extract.components`
        manifest.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from limner.data.made import MANIFEST, make
from limner.data.vqa_files import write_annotations, write_questions
from limner.errors import UserError
from limner.extract.components import ComponentsExtractor
from limner.extract.run import extract

KIND, VERSION = "limner easy-VQA", 1
FIRST_ID = {"train": 10_000, "test": 20_000}  # the package counts both from 0
VAL_SHARE = 8  # one of so many training pictures
_QUESTION_TYPES = (  # with those of the 65 official types that fit, so that tables look alike
    "what color is the", "what is the color of the", "what is the", "what", "is there a", "is there", "is a", "is no",
    "does the",
)  # fmt: skip


def build(folder: str | os.PathLike[str]) -> Path:
    """Makes the data set in `folder`; one that is there already is left alone. Returns the folder.

    Raises:
        UserError: the package is absent, or the folder holds other things.
    """
    return make(folder, _fill, name="this version of easy-VQA", made_with={"kind": KIND, "version": VERSION})


def _fill(folder: Path) -> dict[str, Any]:
    package = _package()
    train_paths, test_paths = package.get_train_image_paths(), package.get_test_image_paths()
    of_split = {**split_of(train_paths), **{FIRST_ID["test"] + number: "test" for number in test_paths}}
    sources = {FIRST_ID["train"] + number: Path(path) for number, path in train_paths.items()}
    sources |= {FIRST_ID["test"] + number: Path(path) for number, path in test_paths.items()}

    pictures = {}
    for split in ("train", "val", "test"):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    for number, source in sorted(sources.items()):
        split = of_split[number]
        pictures[number] = folder / "images" / split / f"easyvqa_{split}_{number:012d}.png"
        shutil.copyfile(source, pictures[number])

    asked = [(FIRST_ID["train"] + image, text, answer) for text, answer, image in zip(*package.get_train_questions())]
    asked += [(FIRST_ID["test"] + image, text, answer) for text, answer, image in zip(*package.get_test_questions())]
    holds = {}
    for split in ("train", "val", "test"):
        chosen = [question for question in asked if of_split[question[0]] == split]
        questions, annotations = records(chosen)
        info = {
            "info": {"description": "easy-VQA, in the format of VQA v2"},
            "data_type": "easyvqa",
            "data_subtype": split,
        }
        write_questions(folder / f"v2_OpenEnded_easyvqa_{split}_questions.json", questions, **info)
        write_annotations(folder / f"v2_easyvqa_{split}_annotations.json", annotations, **info)
        holds[split] = {"images": len({image for image, _, _ in chosen}), "questions": len(chosen)}
    extract(pictures, folder / "regions.h5", ComponentsExtractor())
    return {"holds": holds}


def _package() -> Any:
    try:
        import easy_vqa
    except ImportError:
        raise UserError(
            "easy-vqa: the package with the pictures is not installed; install it with: pip install easy-vqa"
        ) from None
    return easy_vqa


def split_of(train_numbers: Iterable[int]) -> dict[int, str]:
    """Image id -> `train` or `val`: a fixed eighth of the package's training pictures is held out."""
    numbers = sorted(train_numbers)
    held_out = set(random.Random(1).sample(numbers, len(numbers) // VAL_SHARE))
    return {FIRST_ID["train"] + number: "val" if number in held_out else "train" for number in numbers}


def records(asked: list[tuple[int, str, str]]) -> tuple[list[dict], list[dict]]:
    """Question and annotation records for (image id, question, answer); question ids are image_id * 1000 + k."""
    questions, annotations = [], []
    so_far: dict[int, int] = {}
    for image, text, answer in asked:
        so_far[image] = so_far.get(image, -1) + 1
        ids = {"image_id": image, "question_id": image * 1000 + so_far[image]}
        questions.append({**ids, "question": text})
        annotations.append(
            {
                "question_type": next((t for t in _QUESTION_TYPES if text.startswith(t + " ")), "none of the above"),
                "multiple_choice_answer": answer,
                "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)],
                "answer_type": "yes/no" if answer in ("yes", "no") else "other",
                **ids,
            }
        )
    return questions, annotations


def main(argv: list[str] | None = None) -> int:
    """`limner data easy-vqa DIR`. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="limner data easy-vqa", description="Makes VQA v2 files of the package easy-vqa."
    )
    parser.add_argument("folder", metavar="DIR", help="where to; need not exist")
    folder = build(parser.parse_args(argv).folder)
    holds = json.loads((folder / MANIFEST).read_text())["holds"]
    parts = ", ".join(
        f"{split} {held['images']:,} images, {held['questions']:,} questions" for split, held in holds.items()
    )
    print(f"{folder}: {parts}; regions.h5 too")
    return 0
