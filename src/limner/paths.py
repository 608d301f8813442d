"""Where limner's own files lie, and how paths are written for people."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def conf_dir() -> Path:
    """The folder of Hydra configs: inside the package when installed as a wheel, `conf/` in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent.parent / "conf"


def shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
