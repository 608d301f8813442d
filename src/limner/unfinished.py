"""`resume=auto`: the run that was begun with the same configuration and did not end well.

What a scheduler that starts the same command again needs: the first start makes a run, every later one continues it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from limner.launchers import agree
from limner.run import RunFolder

AUTO = "auto"
FOUND_ENV = "LIMNER_RESUME"
"""The environment variable that tells the processes of a run what was found: a run folder, or "" for none."""

FREE = ("resume", "paths")
"""Keys that may differ: which run is continued, and where things lie."""


def unfinished(config: DictConfig) -> Path | None:
    """The newest run of the same name and configuration that has a checkpoint and is not done; None: there is none.

    A run that is still going on counts, so that a second process is refused rather than set beside it.

    Args:
        config: of the run that would be started. With `paths.run` only that folder is looked at.
    """

    def find() -> str:
        return next((str(path) for path in candidates(config) if fits(RunFolder(path), config)), "")

    found = agree(FOUND_ENV, find)
    return Path(found) if found else None


def candidates(config: DictConfig) -> list[Path]:
    """Run folders to look at, the newest first: their names are dates, with a number behind for a shared second."""
    if config.paths.run:
        return [Path(config.paths.run).absolute()]
    folder = Path(config.paths.outputs).absolute() / config.name
    found = [path.parent for path in folder.glob("*/config.yaml")]
    return sorted(found, key=lambda path: _date(path.name), reverse=True)


def _date(name: str) -> tuple[str, int]:
    """`20260131-142501-2` -> its second and its number in that second."""
    parts = name.split("-")
    number = int(parts[2]) if len(parts) == 3 and parts[2].isdecimal() else 0
    return "-".join(parts[:2]), number


def fits(run: RunFolder, config: DictConfig) -> bool:
    """Was a run begun with this configuration, and is there something to continue?"""
    if not run.last.is_file() or run.state() == "done":
        return False
    try:
        saved = OmegaConf.load(run.config)
    except (OSError, OmegaConfBaseException, YAMLError):
        return False
    return isinstance(saved, DictConfig) and _compared(saved) == _compared(config)


def _compared(config: DictConfig) -> dict[str, Any]:
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items() if key not in FREE}
