"""Which code a run was made with: limner's version, and the commit it and the project around it stand at."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PATIENCE = 10  # seconds: `git status` reads every file's time, on a slow network disk too


def code_version(project: Path | None = None) -> dict[str, Any]:
    """`{"limner": "0.1.0", "commit": "c8a68c5...", "dirty": False}`.

    The commit is that of the repository around `project` (default: the current folder), where own configs and code lie;
    where there is none, that of limner's own checkout. Without git both are None. `dirty`: files that git knows have
    been changed since.
    """
    try:
        own: str | None = version("limner")
    except PackageNotFoundError:
        own = None
    found = git(project or Path.cwd()) or git(Path(__file__).parent) or (None, None)
    return {"limner": own, "commit": found[0], "dirty": found[1]}


def git(folder: Path) -> tuple[str, bool] | None:
    """Commit and whether known files have changed since; None without git or outside of a repository."""
    commit = asked(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = asked(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, changed is None or bool(changed)


def asked(folder: Path, *words: str) -> str | None:
    """What git answers; None where it does not."""
    try:
        told = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None
