"""Data sets that limner makes itself: a folder with a manifest, whole or not there.

A set is made in a folder beside its place and takes its name when it is whole. The manifest names what it was made
with and its files, so that a second call finds the set and does nothing.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limner.errors import UserError, listing
from limner.files import write_json

MANIFEST = "manifest.json"


def make(
    folder: str | os.PathLike[str],
    fill: Callable[[Path], Mapping[str, Any]],
    *,
    name: str,
    made_with: Mapping[str, Any],
    replace: bool = False,
) -> Path:
    """Makes a data set in `folder`, unless the very same is there.

    Args:
        folder: need not exist; its parents are made. A link stays, what it points to is filled.
        fill: writes the files into the folder it is given; returns what else the manifest shall say.
        name: of the data set, for messages: "a toy world".
        made_with: what decides the content: `kind`, `version`, sizes, a seed.
        replace: make it anew where it was made otherwise or files are gone.

    Returns:
        The folder.

    Raises:
        UserError: something else stands there, or the set made otherwise, or one with files gone.
    """
    folder = Path(folder).resolve()
    if is_there(folder, name=name, made_with=made_with, replace=replace):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear(folder)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    part.mkdir()
    try:
        more = fill(part)
        files = sorted(path.name for path in part.iterdir() if path.is_file())
        write_json(part / MANIFEST, {**made_with, **more, "files": files})
        put(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def is_there(folder: Path, *, name: str, made_with: Mapping[str, Any], replace: bool) -> bool:
    """True when this very set is there and whole; raises when something else is in the way."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, expected a folder; choose another name")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found.get("kind") != made_with["kind"]:
        raise UserError(f"{folder}: holds files that are not {name}; choose another or an empty folder")
    missing = [file for file in found.get("files", ()) if not (folder / file).is_file()]
    differs = [f"{key} {found.get(key)} instead of {new}" for key, new in made_with.items() if found.get(key) != new]
    if replace and (missing or differs):
        return False
    if differs:
        raise UserError(
            f"{folder}: holds {name} made otherwise ({', '.join(differs)}); choose another folder, or replace it "
            "with --replace"
        )
    if missing:
        raise UserError(f"{folder}: files of {name} are gone: {listing(missing)}; make them anew with --replace")
    return True


def clear(folder: Path) -> None:
    """Removes what stopped builds of this folder left behind; one that is still running is left alone."""
    for part in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial*"):
        number = part.name[len(folder.name) + 2 :].split(".")[0]
        if number.isdigit():
            try:
                os.kill(int(number), 0)  # signal 0 asks whether the process lives
            except ProcessLookupError:
                shutil.rmtree(part, ignore_errors=True)
            except OSError:  # it lives, and is another user's
                continue


def put(part: Path, folder: Path) -> None:
    """Moves the finished set to its place; an older one there goes only after the new one has its name."""
    old = part.with_name(part.name + ".old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
