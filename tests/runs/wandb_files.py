"""Reads the file that wandb writes offline: records in blocks of 32 KiB, as LevelDB's log format has them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768


def records(path: Path) -> Iterator[Any]:
    """wandb's records (`wandb_internal_pb2.Record`), up to the last whole one."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B", f"{path} is no file of wandb's"
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:  # no room for a header: the block ends
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def values(items: Any) -> dict[str, Any]:
    """The items of a record as a dict; a nested key is joined with dots."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


class Offline:
    """What one `wandb/offline-run-...` folder holds.

    Attributes:
        run: the run record: `run_id`, `run_group`, `tags`, `git`.
        config: key -> value.
        rows: the history, one dict a row, with `_step`.
        summary: name -> last value, or `{"max": ..., "last": ...}`.
        artifacts: the artifact records.
    """

    def __init__(self, folder: Path):
        (self.file,) = folder.glob("*.wandb")
        self.folder = folder
        self.run: Any = None
        self.config: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        for record in records(self.file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= values(record.run.config.update)
            elif kind == "history":
                self.rows.append(values(record.history.item))
            elif kind == "summary":
                self.summary |= values(record.summary.update)
            elif kind == "artifact":
                self.artifacts.append(record.artifact)

    def logged(self) -> dict[int, dict[str, Any]]:
        """Step -> what was logged at it, without wandb's own values."""
        return {row["_step"]: {k: v for k, v in row.items() if not k.startswith("_")} for row in self.rows}

    def table(self, artifact: Any) -> dict[str, Any]:
        """The JSON of a logged table, with its pictures' boxes."""
        entry = next(e for e in artifact.manifest.contents if e.path.endswith(".table.json"))
        return json.loads(Path(entry.local_path).read_text())


def offline_runs(run: Path) -> list[Offline]:
    """Those of a run folder, the oldest first."""
    return [Offline(folder) for folder in sorted(run.glob("wandb/offline-run-*"))]
