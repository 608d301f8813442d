"""Small files, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from limner.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is either the old one or the whole new one: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); free space or choose another folder") from None


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
