"""`limner data check DIR`: everything that is wrong with a folder of data, at once.

The readers that training uses are asked to go on behind a fault (`errors.Fault`), so that what is checked is what will
be read. Here stands only what one file cannot tell: splits that share images, images without regions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.kinds import kinds_of, split_of
from limner.errors import UserError, listing

OURS = ("SOURCES.json", "manifest.json")  # written by limner beside the data
SHOWN = 50  # lines of one file that are printed


@dataclass
class Findings:
    """faults: lines by the file they are about; training refuses these, or learns what is wrong. notes: worth knowing.
    holds: what is there, one line a file."""

    faults: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)

    def about(self, path: Path | str) -> Callable[[UserError], None]:
        """Takes the faults of a file, each once."""
        lines = self.faults.setdefault(str(path), [])
        seen: set[str] = set()

        def take(error: UserError) -> None:
            if str(error) not in seen:
                seen.add(str(error))
                lines.append(str(error))

        return take

    @property
    def count(self) -> int:
        return sum(map(len, self.faults.values()))


@dataclass
class Split:
    """What the cross-checks need of a split of a file."""

    name: str
    path: Path
    images: np.ndarray
    ids: np.ndarray | None = None  # of questions


def check(folder: Path, progress: Callable[[int, int], None] | None = None) -> Findings:
    """Looks at every file of a folder.

    Args:
        folder: JSON files (.json, .json.gz) and feature stores (.h5, .hdf5) directly in it.
        progress: called with (images done, images in all) while a store is read.

    Raises:
        UserError: there is no such folder, or no data in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; limner data init --task vqa {folder} writes an example")
    found = Findings()
    files = _sorted_out(folder, found)
    stores = sorted(path for path in folder.iterdir() if path.suffix in (".h5", ".hdf5"))
    if not any(files.values()) and not found.count:
        expected = "questions, captions or dialogs (.json, .json.gz)"
        names = listing(sorted(path.name for path in folder.iterdir())) or "nothing"
        next_step = "limner data init --task vqa DIR writes an example to copy"
        raise UserError(f"{folder}: holds no {expected}, found {names}; {next_step}")
    every = []
    for read in (_questions, _captions, _dialogs):  # a folder may hold data for several tasks
        splits = list(read(files, found))
        _splits(splits, folder, found)
        every += splits
    _regions(every, stores, found, progress)
    return found


def _sorted_out(folder: Path, found: Findings) -> dict[str, list[Path]]:
    """The JSON files by their kinds. One that is none of them is noted, and a fault when it is no JSON."""
    files: dict[str, list[Path]] = {kind: [] for kind in ("questions", "annotations", "captions", "dialogs", "dense")}
    others = []
    for path in sorted(folder.iterdir()):
        if not path.name.endswith((".json", ".json.gz")) or not path.is_file() or path.name in OURS:
            continue
        try:
            kinds = kinds_of(path)
            if not kinds:
                _is_json(path)
                others.append(path.name)
            for kind in kinds:
                files[kind].append(path)
        except UserError as error:
            found.about(path)(error)
    if others:
        found.notes.append(f"{folder}: no questions, captions or dialogs in {listing(others)}")
    return files


def _is_json(path: Path) -> None:
    """Reads a file to its end. Raises `UserError` where it is no JSON list or object."""
    from limner.data.reading import first_character, json_members, json_records

    listed = first_character(path) == "["
    for _ in json_records(path, None) if listed else json_members(path, expected="an object or a list"):
        pass


def _read(found: Findings, path: Path, read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a reader makes of a file, faults left out; None when it cannot go on."""
    take = found.about(path)
    try:
        return read(*arguments, fault=take, **options)
    except UserError as error:
        take(error)
        return None


def _of_split(paths: list[Path], name: str) -> list[Path]:
    return [path for path in paths if split_of(path) == name]


def _questions(files: dict[str, list[Path]], found: Findings) -> Iterator[Split]:
    """Questions with their annotations, which are in the same file or in one of the same split."""
    from limner.data.vqa_files import load_split

    used = set()
    for path in files["questions"]:
        name = split_of(path)
        of = _of_split(files["annotations"], name)
        others = [other for other in _of_split(files["questions"], name) if other != path]
        annotations = path if path in of else of[0] if len(of) == 1 and not others else None
        if annotations is None and (of or name in ("train", "val")):
            told = (
                f"the split {name} has the annotations {listing(of)}" if of else f"the split {name} has no annotations"
            )
            found.about(path)(UserError(f"{path}: {told}; expected one file of them, or both in one file"))
        used.add(annotations)
        split = _read(found, path, load_split, path, annotations)
        if split is None:
            continue
        answers = ""
        if split.annotated:
            blank = np.array([not text.strip() for text in split.strings] + [True])[split.answers]
            said = split.answers >= 0
            answers = f", {said.sum():,} answers"
            empty = split.question_id[(blank | ~said).all(1)]
            if len(empty):
                line = f"{annotations}: questions whose answers are all empty: {listing(empty.tolist())}"
                found.about(path)(UserError(line))
            if (some := int((blank & said).any(1).sum()) - len(empty)) > 0:
                found.notes.append(f"{annotations}: {some:,} questions have an empty answer among others")
        found.holds.append(f"{path}: {name}: {len(split):,} questions{answers}, {_images(split.image_id)} images")
        yield Split(name, path, split.image_id, split.question_id)
    for path in files["annotations"]:
        if path not in used:
            found.about(path)(
                UserError(f"{path}: annotations without a file of questions of the split {split_of(path)}")
            )


def _captions(files: dict[str, list[Path]], found: Findings) -> Iterator[Split]:
    from limner.data.caption_files import read_captions

    for path in files["captions"]:
        file = _read(found, path, read_captions, path)
        if file is None:
            continue
        for name in file.parts or [split_of(path)]:
            split = file.select([name] if file.parts else None)
            told = f"{split.captions:,} captions, {len(split):,} images"
            found.holds.append(f"{path}: {name}: {told}")
            bare = split.image_id[np.diff(split.first) == 0]
            if len(bare) and name != "test":
                found.about(path)(UserError(f"{path}: {name}: images without a caption: {listing(bare.tolist())}"))
            if wordless := int((np.diff(split.offsets) == 0).sum()):
                found.about(path)(UserError(f"{path}: {name}: {wordless:,} captions have no word"))
            yield Split("train" if name == "restval" else name, path, split.image_id)


def _dialogs(files: dict[str, list[Path]], found: Findings) -> Iterator[Split]:
    from limner.data.visdial_files import load_split

    used = set()
    for path in files["dialogs"]:
        name = split_of(path)
        dense = next(iter(_of_split(files["dense"], name)), None)
        used.add(dense)
        split = _read(found, path, load_split, path, dense)
        if split is None:
            continue
        told = f"{len(split):,} dialogs, {split.rounds:,} rounds, {len(split.options):,} options"
        judged = f", {len(split.dense):,} rounds judged" if dense else ""
        found.holds.append(f"{path}: {name}: {told}{judged}")
        bare = int((split.option_counts == 0).sum())
        if bare and name != "test":
            told = f"{bare:,} rounds have no answer_options, which training draws wrong answers from and val ranks"
            found.about(path)(UserError(f"{path}: {told}"))
        hidden = int(((split.gt_index < 0) & (split.option_counts > 0)).sum())
        if hidden and name != "test":
            where = listing(split.image_id[split.dialog[(split.gt_index < 0) & (split.option_counts > 0)]].tolist())
            told = f"{hidden:,} rounds whose answer is none of their answer_options (no gt_index): images {where}"
            found.about(path)(UserError(f"{path}: {told}"))
        if split.unmatched:
            found.notes.append(f"{dense}: {split.unmatched:,} annotations are of other images, and left out")
        yield Split(name, path, split.image_id)
    for path in files["dense"]:
        if path not in used:
            found.about(path)(UserError(f"{path}: annotations without a file of dialogs of the split {split_of(path)}"))


def _images(ids: np.ndarray) -> str:
    return f"{len(np.unique(ids)):,}"


def _splits(splits: list[Split], folder: Path, found: Findings) -> None:
    """Splits that training needs, and what must not stand in two of them."""
    names = {split.name for split in splits}
    for name in ("train", "val"):
        if splits and name not in names:
            told = f"no file of the split {name}: training needs train and val, which names tell (val.json)"
            found.about(folder)(UserError(f"{folder}: {told}; found {listing(sorted(names))}"))
    for place, one in enumerate(splits):
        for other in splits[:place]:
            for what, mine, its in (("images", one.images, other.images), ("question ids", one.ids, other.ids)):
                if mine is None or its is None or (what == "images" and one.name == other.name):
                    continue
                if {one.name, other.name} == {"test", "testdev"}:  # the second is a part of the first
                    continue
                both = np.intersect1d(mine, its)
                if len(both):
                    where = f"{other.path} and {one.path}" if one.path != other.path else str(one.path)
                    line = f"{where}: {what} stand in {other.name} and in {one.name}: {listing(both[:5], len(both))}"
                    found.about(one.path)(UserError(f"{line}; a number on one split then says nothing of the other"))


def _regions(
    splits: list[Split], stores: list[Path], found: Findings, progress: Callable[[int, int], None] | None
) -> None:
    """Every store is whole, and every image has regions in one of them."""
    from limner.data.features import FeatureStore
    from limner.data.features.check import check as faults_of

    ids = []
    for path in stores:
        take = found.about(path)
        for line in faults_of(path, progress=progress):
            take(UserError(line))
        try:
            store = FeatureStore(path)
            ids.append(store.image_ids)
        except UserError:  # told above
            continue
        found.holds.append(f"{path}: {len(store):,} images, {len(store.layout.features):,} regions of {store.dim}")
    if not stores:
        found.notes.append(
            "no feature store (.h5) is here: limner features extract makes one, convert reads older ones"
        )
        return
    there = np.unique(np.concatenate(ids)) if ids else np.zeros(0, np.int64)
    if ids:
        for split in splits:
            lost = np.setdiff1d(split.images, there)
            if len(lost):
                line = f"{split.path}: {split.name}: images without regions: {listing(lost[:5], len(lost))}"
                found.about(split.path)(UserError(f"{line}; extract them, or take their records out"))


def main(argv: list[str] | None = None) -> int:
    """`limner data check DIR [--show N]`. Returns the exit status: 0 when all is well, else 2."""
    parser = argparse.ArgumentParser(
        prog="limner data check",
        description="Questions, captions or dialogs, splits and regions: everything that is wrong, at once.",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the files")
    parser.add_argument("--show", type=int, default=SHOWN, metavar="N", help=f"lines of each file (default {SHOWN})")
    given = parser.parse_args(argv)
    from limner.data.features.command import progress_of

    found = check(Path(given.folder), progress_of("checked"))
    for line in found.holds:
        print(line)
    for line in found.notes:
        print(f"note   {line}")
    for lines in found.faults.values():
        for line in lines[: given.show]:
            print(f"FAULT  {line}")
        if len(lines) > given.show:
            print(f"FAULT  ... and {len(lines) - given.show:,} more of this file: --show {len(lines)}")
    print(f"{given.folder}: {found.count:,} faults" if found.count else f"{given.folder}: good")
    return 2 if found.count else 0
