"""Writes a toy world as a folder: pictures, questions, captions, dialogs and region features, in the real formats.

DIR/manifest.json                                       what it was made with, and what it holds
    images/{train,val,test}/toy_SPLIT_000000000042.png
    scenes_{split}.json                                 what is in each picture; no model reads it
    v2_OpenEnded_toy_{split}_questions.json, v2_toy_{split}_annotations.json
    dataset_toy.json                                    captions of all splits
    visdial_1.0_{split}.json, visdial_1.0_{train,val}_dense_annotations.json
    vocab.txt                                           word parts of all training texts
    regions.h5, grid.h5                                 features of all splits
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

from limner.data.made import MANIFEST, make
from limner.data.toy import captions, render, visdial, vqa
from limner.data.toy.world import HEIGHT, SPLITS, WIDTH, Scene, file_name, scenes
from limner.data.vqa_files import write_annotations, write_questions
from limner.errors import UserError
from limner.extract import Extractor
from limner.extract.components import ComponentsExtractor
from limner.extract.grid import GridExtractor
from limner.extract.run import add, writer_for

KIND, VERSION = "limner toy world", 3  # a new version whenever the same arguments give other files
WORD_PARTS = 400  # of vocab.txt: all whole words fit
FEATURES: dict[str, Extractor] = {"regions.h5": ComponentsExtractor(), "grid.h5": GridExtractor()}
_ABOUT = "Questions about the toy world of limner"


def build(
    folder: str | os.PathLike[str],
    *,
    train: int = 3000,
    val: int = 500,
    test: int = 500,
    seed: int = 1,
    replace: bool = False,
) -> Path:
    """Makes a toy world in `folder` and returns the folder.

    The same arguments give the same bytes. A folder that already holds this world is left alone. The world appears
    at its place only when it is whole: a build that was stopped leaves nothing there.

    Args:
        folder: need not exist; its parents are made.
        train, val, test: scenes in each split, 1 or more. More scenes continue the list, the first ones stay the same.
        seed: decides everything.
        replace: make it anew in the place of a world made with other arguments.

    Raises:
        UserError: a count below 1, another world in the folder (unless `replace`), or a folder with other things in it.
    """
    counts = {"train": train, "val": val, "test": test}
    for split, count in counts.items():
        if not 1 <= count < 1_000_000:
            raise UserError(f"toy world: {split} is {count} scenes, expected 1 to 999,999")
    made_with = {"kind": KIND, "version": VERSION, **counts, "seed": seed}
    return make(
        folder, lambda part: _fill(part, counts, seed), name="a toy world", made_with=made_with, replace=replace
    )


def _fill(part: Path, counts: dict[str, int], seed: int) -> dict:
    world = {split: list(scenes(split, count, seed=seed)) for split, count in counts.items()}
    with _beside(_write_pictures, part, world):
        holds = {split: _write_split(part, split, shown, seed) for split, shown in world.items()}
        told = captions.caption_file((s for split in SPLITS for s in world[split]), seed=seed)
        _write(part / "dataset_toy.json", told)
        _write_words(part, told)
    return {"image_size": [WIDTH, HEIGHT], "holds": holds}


@contextmanager
def _beside(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Does `work` in a second process while the body runs, where that is safe; else before it."""
    if "torch" in sys.modules or "fork" not in get_all_start_methods():  # a fork of running threads can hang
        work(*arguments)
        yield
        return
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        done = pool.submit(work, *arguments)
        yield
        done.result()


def _write_pictures(part: Path, world: dict[str, list[Scene]]) -> None:
    """PNGs and both feature files in one pass: PNG keeps every bit, so `extract` on the files gives the same."""
    with ExitStack() as stack:
        writers = [
            (stack.enter_context(writer_for(part / name, extractor)), extractor) for name, extractor in FEATURES.items()
        ]
        for split, shown in world.items():
            folder = part / "images" / split
            folder.mkdir(parents=True)
            for scene in shown:
                image = render.render(scene)
                render.save(image, folder / file_name(scene))
                for writer, extractor in writers:
                    add(writer, extractor, scene.image_id, image)


def _write_split(part: Path, split: str, shown: list[Scene], seed: int) -> dict[str, int]:
    """Questions, answers, dialogs and scenes of one split; returns how many there are of each."""
    questions, annotations = vqa.records(shown, seed=seed)
    top = vqa.header(split, _ABOUT)
    write_questions(part / f"v2_OpenEnded_toy_{split}_questions.json", questions, **top)
    write_annotations(part / f"v2_toy_{split}_annotations.json", annotations, **top)
    dialogs, dense = visdial.visdial_files(shown, split, seed=seed)
    _write(part / f"visdial_1.0_{split}.json", dialogs)
    if dense is not None:
        _write(part / f"visdial_1.0_{split}_dense_annotations.json", dense)
    things = [{"image_id": scene.image_id, "things": [thing._asdict() for thing in scene.things]} for scene in shown]
    _write(part / f"scenes_{split}.json", things)
    return {"images": len(shown), "questions": len(questions), "dense dialogs": len(dense or ())}


def _write_words(part: Path, told: dict) -> None:
    """`vocab.txt`: the word parts of all training texts, so that captions, questions and dialogs are read alike."""
    from limner.data.wordpiece import WordPiece

    texts = [one["raw"] for image in told["images"] if image["split"] == "train" for one in image["sentences"]]
    asked = json.loads((part / "v2_OpenEnded_toy_train_questions.json").read_text())["questions"]
    answered = json.loads((part / "v2_toy_train_annotations.json").read_text())["annotations"]
    said = json.loads((part / "visdial_1.0_train.json").read_text())["data"]
    texts += [one["question"] for one in asked] + [one["multiple_choice_answer"] for one in answered]
    texts += said["questions"] + said["answers"]
    words = WordPiece.train(texts, size=WORD_PARTS).words
    (part / "vocab.txt").write_text("".join(f"{word}\n" for word in words))


def _write(path: Path, contents: object) -> None:
    path.write_text(json.dumps(contents) + "\n")  # dumps is several times faster than dump


def main(argv: list[str] | None = None) -> int:
    """`limner data toy DIR [--scenes N --val N --test N --seed S --replace]`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="limner data toy", description="Makes a toy world in the real formats.")
    parser.add_argument("folder", metavar="DIR", help="where to; need not exist")
    parser.add_argument("--scenes", type=int, default=3000, metavar="N", help="training scenes (default 3000)")
    parser.add_argument("--val", type=int, default=500, metavar="N", help="validation scenes (default 500)")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test scenes (default 500)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="decides everything (default 1)")
    parser.add_argument("--replace", action="store_true", help="replace a world made with other arguments")
    given = parser.parse_args(argv)
    folder = build(
        given.folder, train=given.scenes, val=given.val, test=given.test, seed=given.seed, replace=given.replace
    )
    holds = json.loads((folder / MANIFEST).read_text())["holds"]
    parts = ", ".join(
        f"{split} {held['images']:,} images, {held['questions']:,} questions" for split, held in holds.items()
    )
    print(f"{folder}: {parts}; captions, dialogs, regions.h5 and grid.h5 too")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
