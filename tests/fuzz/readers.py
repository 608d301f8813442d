"""The readers of files from outside, each with a whole file to begin with."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mutations import altered, damaged

import old_features
from limner.checkpoint_files import read_checkpoint
from limner.data import caption_files, visdial_files, vqa_files
from limner.data.features.check import check
from limner.data.features.convert import convert
from limner.data.features.store import FeatureStore
from limner.data.features.writer import FeatureWriter
from limner.data.pickles import load_table, read_npz
from limner.models.updown_vqa import UpDownVQA
from limner.submit import check_vqa_submission
from limner.submit_visdial import score_dialog_file
from limner.weights import importers, package

Mutate = Callable[[bytes, random.Random], bytes]


HDF5_LOST = 0.002


class Reader(NamedTuple):
    """`make(folder)` writes whole files and returns those that are damaged, one at a time; `read(folder)` reads."""

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    mutate: Mutate = damaged
    lost: float = 0.0
    """share of inputs on which HDF5's library may loop for ever or crash: see docs/trust.md"""

    def write(self, folder: Path, whole: dict[Path, bytes], rng: random.Random) -> None:
        """Puts the whole files back, then damages one."""
        for path, data in whole.items():
            path.write_bytes(data)
        path = rng.choice(list(whole))
        path.write_bytes(self.mutate(whole[path], rng))


def write_json(folder: Path, **files: Any) -> list[Path]:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return [folder / f"{name}.json" for name in files]


# --- features ---


def store(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    with FeatureWriter(folder / "f.h5", dim=4, extractor="fuzz", classes=3) as writer:
        for image in (3, 5, 900):
            probs = np.full((2, 3), 1 / 3, np.float32)
            boxes = np.array([[0, 0, 9, 9], [1, 2, 5, 7]], np.float32)
            writer.add(image, rng.random((2, 4), np.float32), boxes, (10, 10), class_probs=probs)
    return [folder / "f.h5"]


def read_store(path: Path) -> None:
    found = FeatureStore(path, max_regions=2)
    positions = np.arange(min(len(found), 5))
    found.read(positions)
    found.sizes(positions)
    assert found.fingerprint
    check(path)


def read_converted(name: str, folder: Path) -> None:
    out = folder / "new.h5"
    out.unlink(missing_ok=True)
    shutil.rmtree(folder / "new.h5.partial", ignore_errors=True)
    convert(folder / name, out)


def old(writer: Callable[..., Path], regions: tuple[int, ...] = (3, 5, 2)) -> Reader:
    """The conversion of an old format; a folder's files are damaged one at a time."""
    name: list[str] = []

    def make(folder: Path) -> list[Path]:
        path = writer(folder, old_features.images(regions))
        name[:] = [path.name]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        beside = [file for file in folder.iterdir() if file.is_file() and file != path]
        return [file for file in (*files, *beside) if file.name != "lock.mdb"]

    lost = HDF5_LOST if "hdf5" in writer.__name__ else 0.0
    return Reader(make, lambda folder: read_converted(name[0], folder), lost=lost)


# --- questions, captions, dialogs ---


def vqa(folder: Path) -> list[Path]:
    keys = [{"question_id": 10 * k, "image_id": k} for k in range(1, 4)]
    said = [{"answer": "yes", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
    more = {"multiple_choice_answer": "yes", "answer_type": "yes/no", "question_type": "is", "answers": said[:3]}
    questions = {"info": {}, "questions": [{**key, "question": "Is it red?"} for key in keys]}
    return write_json(folder, q=questions, a={"annotations": [{**key, **more} for key in keys]})


def karpathy(folder: Path) -> list[Path]:
    sentence = {"tokens": ["a", "dog"], "raw": "A dog."}
    images = [
        {"cocoid": k, "filename": f"x_{k}.jpg", "split": split, "sentences": [sentence] * 2}
        for k, split in enumerate(("train", "restval", "val"), 1)
    ]
    return write_json(folder, c={"dataset": "coco", "images": images})


def coco(folder: Path) -> list[Path]:
    images = [{"id": k, "file_name": f"x_{k}.jpg"} for k in (1, 2)]
    told = [{"image_id": k, "id": k, "caption": "A dog."} for k in (1, 2, 2)]
    return write_json(folder, c={"images": images, "annotations": told})


def dialogs(folder: Path) -> list[Path]:
    said = {"question": 0, "answer": 1, "gt_index": 1, "answer_options": [0, 1, 2]}
    talks = [{"image_id": k, "caption": "a dog", "dialog": [said, said]} for k in (1, 2)]
    data = {"questions": ["is it", "how"], "answers": ["yes", "no", "two"], "dialogs": talks}
    dense = [{"image_id": 2, "round_id": 1, "gt_relevance": [0, 1, 0.5]}]
    return write_json(folder, d={"version": "1.0", "split": "val", "data": data}, dense=dense)


def ranks(folder: Path) -> list[Path]:
    dialogs(folder)
    found = [{"image_id": k, "round_id": n, "ranks": [2, 1, 3]} for k in (1, 2) for n in (1, 2)]
    return write_json(folder, r=found)


def answers(folder: Path) -> list[Path]:
    vqa(folder)
    return write_json(folder, s=[{"question_id": 10 * k, "answer": "yes"} for k in range(1, 4)])


# --- checkpoints, packages, pickles ---


def model() -> UpDownVQA:
    torch.manual_seed(0)
    return UpDownVQA(words=3, answers=2, feature_dim=4, hidden=3, embed_dim=2, classifier_hidden=3, attention="product")


def torch_file(folder: Path, *, zipped: bool) -> list[Path]:
    torch.save(model().state_dict(), folder / "m.pth", _use_new_zipfile_serialization=zipped)
    return [folder / "m.pth"]


def run_checkpoint(folder: Path) -> list[Path]:
    torch.save({"state_dict": model().state_dict(), "epoch": 3, "loops": {"x": [1, 2.5, None]}}, folder / "last.ckpt")
    return [folder / "last.ckpt"]


def packed(folder: Path) -> list[Path]:
    sizes = {"_target_": "limner.models.updown_vqa.UpDownVQA", "words": 3, "answers": 2, "feature_dim": 4, "hidden": 3}
    sizes |= {"embed_dim": 2, "classifier_hidden": 3, "attention": "product"}
    vocab = {"words": ["is", "it", "red"], "answers": ["yes", "no"]}
    meta = {"task": "vqa", "metrics": {}, "features": None, "config": {"name": "x"}}
    package.save(folder / "p", package.Package(model=model(), sizes=sizes, vocab=vocab, meta=meta))
    return [folder / "p" / name for name in ("model.json", "vocab.json", "model.safetensors")]


def table(folder: Path) -> list[Path]:
    content = [
        {"a": 1, b"b": [2.5, None, True]},
        ("x", {1, 2}),
        np.arange(6, dtype="<f4").reshape(2, 3),
        "é" * 9,
        2**70,
    ]
    made = []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made.append(folder / f"{protocol}.pkl")
        made[-1].write_bytes(pickle.dumps(content, protocol=protocol))
    return made


def read_tables(folder: Path) -> None:
    for path in folder.glob("*.pkl"):
        load_table(path)


def npz(folder: Path) -> list[Path]:
    np.savez_compressed(folder / "z.npz", feat=np.ones((3, 4), "f4"), info=np.array({"x": 1}, object))
    return [folder / "z.npz"]


READERS: dict[str, Reader] = {
    "feature store": Reader(store, lambda folder: read_store(folder / "f.h5")),
    "old HDF5, read": Reader(
        lambda folder: [old_features.visdial_starter_hdf5(folder, old_features.images((3, 3)))],
        lambda folder: read_store(next(folder.glob("*.h5"))),
        lost=HDF5_LOST,
    ),
    "Anderson's TSV": old(old_features.anderson_tsv),
    "LXMERT's TSV": old(old_features.lxmert_tsv),
    "VinVL's TSV": old(old_features.vinvl_tsv),
    "hengyuan-hu's HDF5 and pickles": old(old_features.hengyuan_hdf5, (3, 3)),
    "M2's HDF5": old(old_features.m2_hdf5),
    "FGA's HDF5": old(old_features.fga_hdf5, (4, 4, 4)),
    "npz folder": old(old_features.att_folder),
    "MMF's folder": old(old_features.mmf_folder),
    "VQA questions and answers": Reader(vqa, lambda f: vqa_files.load_split(f / "q.json", f / "a.json"), altered),
    "Karpathy's captions": Reader(karpathy, lambda f: caption_files.read_captions(f / "c.json"), altered),
    "COCO's captions": Reader(coco, lambda f: caption_files.read_captions(f / "c.json"), altered),
    "dialogs": Reader(dialogs, lambda f: visdial_files.load_split(f / "d.json", f / "dense.json"), altered),
    "ranks": Reader(ranks, lambda f: score_dialog_file(f / "r.json", f / "d.json", f / "dense.json"), altered),
    "answers to submit": Reader(answers, lambda f: check_vqa_submission(f / "s.json", f / "q.json"), altered),
    "checkpoint of a run": Reader(run_checkpoint, lambda folder: read_checkpoint(folder / "last.ckpt")),
    "published checkpoint": Reader(
        partial(torch_file, zipped=True), lambda folder: importers.read_checkpoint(folder / "m.pth")
    ),
    "published checkpoint, old": Reader(
        partial(torch_file, zipped=False), lambda folder: importers.read_checkpoint(folder / "m.pth")
    ),
    "package": Reader(packed, lambda folder: package.read(folder / "p")),
    "pickled table": Reader(table, read_tables),
    "npz file": Reader(npz, lambda folder: read_npz(folder / "z.npz")),
}


def fresh(folder: Path, reader: Reader) -> dict[Path, bytes]:
    """The whole files of a reader in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole = {path: path.read_bytes() for path in reader.make(folder)}
    reader.read(folder)  # they are whole
    return whole
