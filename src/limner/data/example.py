"""`limner data init --task TASK DIR`: a small example of data of one's own, to copy and to replace by one's own.

Drawn scenes in the formats that real data come in, few enough to read through:

    DIR/images/{train,val,test}/...   pictures; the digits at the end of a name are its image id
        train.json, val.json, test.json
        regions.h5                    region features of all pictures
        vocab.txt                     word parts (visdial)
        README.md                     what each file holds, and the commands
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from limner.data.made import make
from limner.data.toy import captions, render, visdial, vqa
from limner.data.toy.world import Scene, file_name, scenes
from limner.extract.components import ComponentsExtractor
from limner.extract.run import extract
from limner.files import write_whole

KIND, VERSION = "limner example", 1
COUNTS = {"train": 24, "val": 8, "test": 8}
SEED = 1
OPTIONS = 20  # of a round; VisDial has 100

_README = """# An example of data for {task}

{about}

- `train.json`, `val.json`, `test.json`: a file is a split. No image may stand in two of them.
- `regions.h5`: region features of every image, by its id. Made from `images/` with
  `limner features extract images=DIR/images out=DIR/regions.h5 extractor=components`; features of a detector come in
  with `limner features convert`.
- `images/`: pictures. The digits at the end of a name are the image id. Only `features extract` and reports read them.
{more}
Replace the content by your own, then

    limner data check DIR
    {train}

`limner data check` names everything that is wrong, with file and place. docs/own_data.md says more.
"""


def _vqa(split: str, shown: list[Scene]) -> str:
    """Questions and, but for test, what people answered: the fields that are needed, and no more."""
    questions, annotations = vqa.records(shown, seed=SEED)
    asked = [{key: one[key] for key in ("question_id", "image_id", "question")} for one in questions]
    told = [
        {
            "question_id": one["question_id"],
            "image_id": one["image_id"],
            "answers": [{"answer": item["answer"]} for item in one["answers"]],
        }
        for one in annotations
    ]
    return _object({"questions": _rows(asked)} | ({} if split == "test" else {"annotations": _rows(told)}))


def _captions(split: str, shown: list[Scene]) -> str:
    """Image id -> captions."""
    told = captions.caption_file(shown, seed=SEED)["images"]
    return _object({one["cocoid"]: json.dumps([said["raw"] for said in one["sentences"]]) for one in told})


def _visdial(split: str, shown: list[Scene]) -> str:
    """Dialogs in texts, a line each."""
    file, _ = visdial.visdial_files(shown, split, seed=SEED)
    questions, answers = file["data"]["questions"], file["data"]["answers"]

    def said(one: dict[str, Any]) -> dict[str, Any]:
        told = {"question": questions[one["question"]]}
        if "answer" in one:
            told["answer"] = answers[one["answer"]]
        begin = one.get("gt_index", 0) // OPTIONS * OPTIONS  # of the options with the answer among them
        few = one.get("answer_options", [])[begin : begin + OPTIONS]
        return told | ({"answer_options": [answers[place] for place in few]} if few else {})

    return _rows(
        {"image_id": one["image_id"], "caption": one["caption"], "dialog": [said(each) for each in one["dialog"]]}
        for one in file["data"]["dialogs"]
    )


def _rows(records: Iterable[Any]) -> str:
    """A JSON list, one record a line."""
    return "[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]"


def _object(members: dict[Any, str]) -> str:
    """A JSON object of texts that are JSON, one member a line."""
    return "{\n" + ",\n".join(f"{json.dumps(str(key))}: {value}" for key, value in members.items()) + "\n}\n"


TASKS: dict[str, tuple[Callable[[str, list[Scene]], str], dict[str, str]]] = {
    "vqa": (
        _vqa,
        {
            "about": "Each split holds `questions` and, where they are known, `annotations`: the answers of one to ten "
            "people. The two lists\nmay stand in one file, as here, or in two, as VQA v2 has them. An answer that one "
            "person gave counts as ten who agree.",
            "more": "",
            "train": "limner train experiment=vqa_own data.folder=DIR",
        },
    ),
    "captions": (
        _captions,
        {
            "about": "Each split holds `{image id: [captions]}`. Karpathy's and COCO's files are read as well.",
            "more": "",
            "train": "limner train experiment=caption_own data.folder=DIR",
        },
    ),
    "visdial": (
        _visdial,
        {
            "about": "Each split is a list of dialogs: `image_id`, `caption` and the rounds of `dialog`, each with "
            "`question`, `answer` and\n`answer_options`, the answers that it is ranked among. The last answer of a "
            "test dialog may be missing. VisDial's own\nfiles are read as well.",
            "more": "- `vocab.txt`: word parts, here learned from the texts; that of BERT with weights that begin from "
            "BERT.\n",
            "train": "limner train experiment=visdial_own data.folder=DIR model=vilbert_tiny optim.lr=2e-3",
        },
    ),
}


def build(folder: str | Path, task: str) -> Path:
    """Writes the example; one that is there already is left alone. Returns the folder.

    Raises:
        UserError: the folder holds other things.
    """
    write, about = TASKS[task]

    def fill(part: Path) -> dict[str, Any]:
        world = {split: list(scenes(split, count, seed=SEED)) for split, count in COUNTS.items()}
        for split, shown in world.items():
            (part / "images" / split).mkdir(parents=True)
            for scene in shown:
                render.save(render.render(scene), part / "images" / split / file_name(scene))
            write_whole(part / f"{split}.json", write(split, shown))
        extract(part / "images", part / "regions.h5", ComponentsExtractor())
        if task == "visdial":
            _write_words(part)
        write_whole(part / "README.md", _README.format(task=task, **about))
        return {"holds": COUNTS}

    made_with = {"kind": KIND, "version": VERSION, "task": task}
    return make(folder, fill, name=f"this example for {task}", made_with=made_with)


def _write_words(part: Path) -> None:
    from limner.data.wordpiece import WordPiece

    dialogs = json.loads((part / "train.json").read_text(encoding="utf-8"))
    texts = [dialog["caption"] for dialog in dialogs]
    for said in (said for dialog in dialogs for said in dialog["dialog"]):
        texts += [said["question"], said["answer"], *said["answer_options"]]
    write_whole(part / "vocab.txt", "".join(f"{word}\n" for word in WordPiece.train(texts, size=400).words))


def main(argv: list[str] | None = None) -> int:
    """`limner data init --task vqa|captions|visdial DIR`. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="limner data init", description="A small example of data of one's own, in the formats that are read."
    )
    parser.add_argument("--task", required=True, choices=list(TASKS), help="what the data are for")
    parser.add_argument("folder", metavar="DIR", help="where to; need not exist")
    given = parser.parse_args(argv)
    folder = build(given.folder, given.task)
    print(f"{folder}: {', '.join(f'{split}.json ({count} images)' for split, count in COUNTS.items())}, regions.h5")
    print("README.md says what each file holds; next:")
    print(f"  limner data check {given.folder}")
    print(f"  {TASKS[given.task][1]['train'].replace('DIR', str(given.folder))}")
    return 0
