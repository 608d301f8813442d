"""The golden dialogs: 20 real ones with the rows that the published code makes of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from limner.data.visdial_files import load_split
from limner.data.visdial_split import VisDialSplit


def golden(shared: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress((shared / "golden/visdial/input_encoding_real20.json.gz").read_bytes()))


def golden_split(found: dict[str, Any], folder: Path) -> VisDialSplit:
    """The dialogs and their dense annotations, written in the official format and read again."""
    dense = []
    for one in found["dense"]:
        shares = [0.0] * 100
        for option, share in one["gt_relevance_nonzero"].items():
            shares[int(option)] = share
        dense.append({"image_id": one["image_id"], "round_id": one["round_id"], "gt_relevance": shares})
    (folder / "dialogs.json").write_text(json.dumps({"version": "1.0", "split": "val", "data": found["data"]}))
    (folder / "dense.json").write_text(json.dumps(dense))
    return load_split(folder / "dialogs.json", folder / "dense.json")


def real_split(shared: Path) -> VisDialSplit:
    """97 dialogs of VisDial's val split with their dense annotations."""
    folder = shared / "data/visdial_v1_97"
    return load_split(folder / "visdial_1.0_val_97.json.gz", folder / "visdial_1.0_val_dense_annotations_97.json.gz")
