"""Where limner's own files lie: the configs, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The folder of Hydra configs: inside the package when installed as a wheel, `conf/` in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent.parent / "conf"
