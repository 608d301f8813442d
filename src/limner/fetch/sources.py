"""`SOURCES.json` beside fetched data: where each file came from, when, under which licence, and its checksum.

{"files": {"PLACE": {"set", "address", "date", "licence", "size", "sha256", "archive": {"name", "size", "sha256"}}}}

The checksum that is written at the first download is what every later call compares with.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from limner.errors import UserError
from limner.fetch.unpack import sha256
from limner.files import write_json

NAME = "SOURCES.json"


class Sources:
    """What is known of the files of a folder.

    Raises:
        UserError: the file there cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.files: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            try:
                self.files = dict(json.loads(self.path.read_text(encoding="utf-8"))["files"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                told = f"cannot be read ({type(error).__name__}: {error})"
                raise UserError(f"{self.path}: {told}; delete it: the files are then taken as they are") from None

    def changed(self, place: str) -> str | None:
        """How a file that is there differs from what was fetched; None: it does not, or nothing is known of it."""
        known, path = self.files.get(place), self.folder / place
        if known is None:
            return None
        if path.stat().st_size != known.get("size"):
            return f"has {path.stat().st_size:,} bytes, fetched were {known.get('size'):,}"
        found = sha256(path)
        if found != known.get("sha256"):
            return f"has the sha256 {found[:12]}..., fetched was {str(known.get('sha256'))[:12]}..."
        return None

    def record(self, place: str, checksum: str, **told: Any) -> None:
        """Remembers a file that has just been written."""
        self.files[place] = {
            **{key: value for key, value in told.items() if value is not None},
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "size": (self.folder / place).stat().st_size,
            "sha256": checksum,
        }
        write_json(self.path, {"files": dict(sorted(self.files.items()))})
