"""Fixtures of all tests: where the shared golden files are, and one thread so that numbers repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden files and real data: LIMNER_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("LIMNER_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"golden files not found in {folder}: set LIMNER_SHARED to the folder that has them")
    return folder
