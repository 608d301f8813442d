"""Region features of a few images in every published format, written as the published code writes them.

Sources: `tools/generate_tsv.py` of bottom-up-attention (csv.DictWriter, base64 of arrays), LXMERT's
`extracting_data`, vilbert_beta's `convert_lmdb.py`, visdial-bert's LMDB with cls_prob, MMF's
`extract_features_vmb.py` and `lmdb_conversion.py`, ImageCaptioning.pytorch's `make_bu_data.py`,
bottom-up-attention-vqa's `detection_features_converter.py`, visdial-challenge-starter's extractor, M2's detections,
FGA's, MILVLG's npz, Oscar's features.tsv. Every writer takes a folder to write to and returns what to give `limner`.
"""

from __future__ import annotations

import base64
import csv
import json
import pickle
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

CLASSES = 1601
DIM = 2048


class Old(NamedTuple):
    """One image as a detector leaves it."""

    image_id: int
    size: tuple[int, int]  #: width, height
    boxes: np.ndarray  #: (k, 4) float32 pixels
    features: np.ndarray  #: (k, DIM) float32
    probs: np.ndarray  #: (k, CLASSES) float32
    attr_id: np.ndarray  #: (k,) int64
    attr_prob: np.ndarray  #: (k,) float32

    @property
    def coco(self) -> str:
        return f"COCO_train2014_{self.image_id:012d}"

    @property
    def cls_id(self) -> np.ndarray:
        """(k,) without the background, as LXMERT and MMF count."""
        return self.probs[:, 1:].argmax(1)

    @property
    def cls_prob(self) -> np.ndarray:
        return self.probs[:, 1:].max(1)


def images(regions: tuple[int, ...] = (3, 5, 2), *, dim: int = DIM, seed: int = 0) -> list[Old]:
    """Images whose ids are not in order. Features are as sparse as real ones."""
    rng = np.random.default_rng(seed)
    made = []
    for place, count in enumerate(regions):
        width, height = int(rng.integers(300, 640)), int(rng.integers(300, 480))
        corner = rng.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 100, (count, 2))], 1).astype(np.float32)
        features = np.maximum(rng.standard_normal((count, dim)), 0).astype(np.float32)
        logits = rng.standard_normal((count, CLASSES)) * 3
        probs = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
        attr = rng.integers(0, 400, count), rng.random(count).astype(np.float32)
        image_id = [581929, 9, 42, 7, 100, 25][place % 6] + place // 6
        made.append(Old(image_id, (width, height), boxes, features, probs, *attr))
    return made


def b64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array)).decode()


def anderson_tsv(folder: Path, found: list[Old], name: str = "trainval_resnet101_faster_rcnn_genome_36.tsv") -> Path:
    names = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, delimiter="\t", fieldnames=names)
        for one in found:
            width, height = one.size
            told = {"image_id": one.image_id, "image_w": width, "image_h": height, "num_boxes": len(one.boxes)}
            writer.writerow(told | {"boxes": b64(one.boxes), "features": b64(one.features)})
    return folder / name


def lxmert_tsv(folder: Path, found: list[Old]) -> Path:
    names = ["img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes"]
    path = folder / "train2014_obj36.tsv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, delimiter="\t", fieldnames=[*names, "boxes", "features"])
        for one in found:
            row = {"img_id": one.coco, "img_h": one.size[1], "img_w": one.size[0], "num_boxes": len(one.boxes)}
            row |= {"objects_id": b64(one.cls_id), "objects_conf": b64(one.cls_prob)}
            row |= {"attrs_id": b64(one.attr_id), "attrs_conf": b64(one.attr_prob)}
            writer.writerow(row | {"boxes": b64(one.boxes), "features": b64(one.features)})
    return path


def vinvl_row(one: Old) -> np.ndarray:
    """(k, 2054): x1, y1, x2, y2, width, height as fractions behind the features."""
    places = one.boxes / np.array([*one.size, *one.size], np.float32)
    return np.concatenate([one.features, places, places[:, 2:] - places[:, :2]], 1).astype(np.float32)


def vinvl_tsv(folder: Path, found: list[Old], *, as_json: bool = False) -> Path:
    path, start = folder / "features.tsv", 0
    with path.open("w") as file, (folder / "features.lineidx").open("w") as index:
        for one in found:
            row = f"{len(one.boxes)}\t{b64(vinvl_row(one))}"
            if as_json:
                told = {"image_h": one.size[1], "image_w": one.size[0], "num_boxes": len(one.boxes)}
                row = json.dumps(told | {"features": b64(vinvl_row(one))})
            line = f"{one.image_id}\t{row}\n"
            index.write(f"{start}\n")
            start += len(line)
            file.write(line)
    (folder / "imageid2idx.json").write_text(json.dumps({str(one.image_id): k for k, one in enumerate(found)}))
    return path


def vinvl_json_tsv(folder: Path, found: list[Old]) -> Path:
    return vinvl_tsv(folder, found, as_json=True)


def vilbert_lmdb(folder: Path, found: list[Old], *, keys: bool = True) -> Path:
    import lmdb

    path = folder / "features.lmdb"
    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        listed = []
        for one in found:
            item = {"image_id": str(one.image_id), "image_h": str(one.size[1]), "image_w": str(one.size[0])}
            item |= {"num_boxes": str(len(one.boxes)), "boxes": b64(one.boxes), "features": b64(one.features)}
            item["cls_prob"] = b64(one.probs)
            listed.append(str(one.image_id).encode())
            transaction.put(listed[-1], pickle.dumps(item))
        if keys:
            transaction.put(b"keys", pickle.dumps(listed))
    return path


def mmf_info(one: Old) -> dict:
    told = {"bbox": one.boxes, "num_boxes": len(one.boxes), "objects": one.cls_id, "cls_prob": one.probs}
    return told | {"image_width": one.size[0], "image_height": one.size[1]}


def mmf_folder(folder: Path, found: list[Old]) -> Path:
    path = folder / "fc6"
    path.mkdir()
    for one in found:
        np.save(path / f"{one.coco}.npy", one.features)
        np.save(path / f"{one.coco}_info.npy", mmf_info(one))  # a dict: NumPy pickles it
    return path


def mmf_lmdb(folder: Path, found: list[Old]) -> Path:
    import lmdb

    path = folder / "detectron.lmdb"
    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        listed = []
        for one in found:
            item = {"feature_path": f"train2014/{one.coco}", "features": one.features, **mmf_info(one)}
            listed.append(item["feature_path"].encode())
            transaction.put(listed[-1], pickle.dumps(item))
        transaction.put(b"keys", pickle.dumps(listed))
    return path


def hengyuan_hdf5(folder: Path, found: list[Old]) -> Path:
    """As many rows as the converter sets aside; the ids in a pickle of Python 2."""
    path, most = folder / "train36.hdf5", max(len(one.boxes) for one in found)
    with h5py.File(path, "w") as file:
        for name, width in (("image_features", DIM), ("image_bb", 4), ("spatial_features", 6)):
            file.create_dataset(name, (len(found), most, width), "f")
        for row, one in enumerate(found):
            assert len(one.boxes) == most
            scaled = one.boxes / np.array([*one.size, *one.size], np.float32)
            file["image_features"][row], file["image_bb"][row] = one.features, one.boxes
            file["spatial_features"][row] = np.concatenate([scaled, scaled[:, 2:] - scaled[:, :2]], 1)
    ids = "".join(f"I{one.image_id}\nI{row}\ns" for row, one in enumerate(found))
    (folder / "train36_imgid2idx.pkl").write_bytes(f"(dp1\n{ids}.".encode())
    return path


def visdial_starter_hdf5(folder: Path, found: list[Old]) -> Path:
    path, most = folder / "features_faster_rcnn_x101_train.h5", max(len(one.boxes) for one in found)
    with h5py.File(path, "w") as file:
        file.attrs["split"] = "train"
        shapes = {"image_ids": (), "features": (most, DIM), "boxes": (most, 4), "classes": (most,), "scores": (most,)}
        for name, shape in shapes.items():
            file.create_dataset(name, (len(found), *shape), int if name in ("image_ids", "classes") else "f4")
        for row, one in enumerate(found):
            file["image_ids"][row] = one.image_id
            file["features"][row], file["boxes"][row] = one.features, one.boxes
            file["classes"][row], file["scores"][row] = one.cls_id, one.cls_prob
    return path


def att_folder(folder: Path, found: list[Old]) -> Path:
    for name in ("att", "fc", "box"):
        (folder / f"cocobu_{name}").mkdir()
    for one in found:
        np.savez_compressed(folder / "cocobu_att" / str(one.image_id), feat=one.features)
        np.save(folder / "cocobu_fc" / str(one.image_id), one.features.mean(0))
        np.save(folder / "cocobu_box" / str(one.image_id), one.boxes)
    return folder / "cocobu_att"


def m2_hdf5(folder: Path, found: list[Old]) -> Path:
    path = folder / "coco_detections.hdf5"
    with h5py.File(path, "w") as file:
        for one in found:
            for name, values in (("features", one.features), ("boxes", one.boxes), ("cls_prob", one.probs)):
                file[f"{one.image_id}_{name}"] = values
    return path


def milvlg_folder(folder: Path, found: list[Old]) -> Path:
    path = folder / "bua-r101"
    path.mkdir()
    for one in found:
        info = {"objects": one.cls_id, "attrs_id": one.attr_id}
        told = {"num_bbox": len(one.boxes), "image_w": one.size[0], "image_h": one.size[1], "info": info}
        np.savez_compressed(path / f"{one.coco}.npz", x=one.features, bbox=one.boxes, **told)
    return path


def fga_hdf5(folder: Path, found: list[Old]) -> Path:
    """Two splits; the whole image behind the regions of each; the ids as one writes them from the dialogs."""
    path = folder / "frcnn_features_new.h5"
    with h5py.File(path, "w") as file:
        for split, images in (("train", found[:2]), ("val", found[2:])):
            rows = [np.concatenate([one.features, one.features.mean(0, keepdims=True)]) for one in images]
            file[f"{split}_features"] = np.stack(rows)
            (folder / f"{split}_ids.json").write_text(json.dumps([one.image_id for one in images]))
    return path


#: name of the format -> its writer
WRITERS = {
    "anderson-tsv": anderson_tsv,
    "lxmert-tsv": lxmert_tsv,
    "vinvl-tsv": vinvl_tsv,
    "vinvl-tsv json": vinvl_json_tsv,
    "vilbert-lmdb": vilbert_lmdb,
    "mmf": mmf_folder,
    "mmf-lmdb": mmf_lmdb,
    "hdf5 hengyuan": hengyuan_hdf5,
    "hdf5 starter": visdial_starter_hdf5,
    "att-npz": att_folder,
    "m2-hdf5": m2_hdf5,
    "milvlg-npz": milvlg_folder,
    "fga-hdf5": fga_hdf5,
}
