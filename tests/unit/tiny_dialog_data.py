"""A tiny visual dialog data set on disk: dialogs, dense annotations, regions; the data module and a model for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tiny_captions import drawn, write_store
from tiny_visdial import content, judged, write

from limner.data.visdial import VisDialData
from limner.models.vilbert import ViLBERT
from limner.schema.visdial_data import VisDialData as Settings
from limner.tasks.visdial import VisDialTask

__all__ = ["data", "drawn", "make_files", "model", "task"]

COUNTS = {100: 2, 107: 1, 114: 4, 121: 3, 128: 2}


def make_files(folder: Path) -> Path:
    """`train.json`, `val.json` (all judged), `test.json`, `train_dense.json`, `val_dense.json`, `regions.h5`."""
    for seed, (split, dialogs) in enumerate({"train": 5, "val": 3, "test": 4}.items()):
        file = content(seed, dialogs=dialogs, split="test" if split == "test" else "val")
        write(folder / f"{split}.json", file)
        if split != "test":
            name = "relevance" if split == "train" else "gt_relevance"
            write(folder / f"{split}_dense.json", judged(file, name=name)[:3])
    write_store(folder / "regions.h5", COUNTS)
    return folder


def data(folder: Path, *, vocabulary: Any = None, **changes: Any) -> VisDialData:
    """The data module, prepared; words are learned from the texts."""
    chosen = asdict(Settings())
    for name in ("_target_", "folder", "made_by", "vocabulary"):
        del chosen[name]
    chosen["dialogs"] = {split: str(folder / f"{split}.json") for split in ("train", "val", "test")}
    chosen["dense"] = {split: str(folder / f"{split}_dense.json") for split in ("train", "val")}
    chosen["features"] = [str(folder / "regions.h5")]
    chosen |= {"cache": None, "batch_size": 4, "eval_batch_size": 2, "dense_options": 3, "mask_words": 0.5}
    made = VisDialData(vocabulary=vocabulary, **{**chosen, "max_regions": None, "mask_regions": 0.5, **changes})
    made.prepare()
    return made


def model(made: VisDialData, **changes: Any) -> ViLBERT:
    """A small one in float64 without dropout, with weights large enough for differences to show."""
    sizes: dict[str, Any] = {"positions": 256, "text_connections": [1], "image_connections": [1]}
    for name in ("text", "image"):
        sizes |= {f"{name}_hidden": 8, f"{name}_layers": 2, f"{name}_heads": 2, f"{name}_ffn": 12}
    sizes |= {"joint_hidden": 8, "joint_heads": 2}
    sizes |= {f"dropout_{name}": 0.0 for name in ("text", "image", "text_attention", "image_attention", "fused")}
    torch.manual_seed(0)
    found = ViLBERT(**{**sizes, **made.sizes(), **changes}).double()
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return found


class Dialogs(VisDialTask):
    """With a trainer that is not Lightning's."""

    trainer: Any = None


def task(made: VisDialData, net: torch.nn.Module | None = None, *, processes: int = 1, **options: Any) -> Dialogs:
    found = Dialogs(net or model(made), **{**made.task_arguments(), **options})
    found.log = lambda *_, **__: None  # type: ignore[method-assign]
    found.trainer = SimpleNamespace(
        world_size=processes, global_step=0, is_global_zero=True, accumulate_grad_batches=1, max_epochs=2,
        limit_train_batches=1.0, datamodule=SimpleNamespace(train_dataloader=lambda: range(5)),
    )  # fmt: skip
    return found


def wide(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch in float64."""
    return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
