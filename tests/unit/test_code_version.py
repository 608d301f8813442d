"""The commit a run was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from limner import code_version


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with one commit, for which the user's own settings do not matter."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "code.py").write_text("a = 1\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "code.py"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def test_commit_and_changes(repository):
    found = code_version.code_version(repository)
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    (repository / "notes.txt").write_text("not known to git")
    assert code_version.code_version(repository)["dirty"] is False
    (repository / "code.py").write_text("a = 2\n")
    assert code_version.code_version(repository) == {**found, "dirty": True}


def test_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = code_version.code_version(tmp_path)
    assert (found["commit"], found["dirty"]) == (None, None)


def test_outside_of_a_repository_limners_own_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_version.git(tmp_path) is None
    own = code_version.git(Path(code_version.__file__).parent)
    assert code_version.code_version(tmp_path)["commit"] == (own[0] if own else None)
