"""What a model package says about itself, model.json, and whether its files are the ones that were saved. No torch.

`format` counts the versions of a package:
    1   the weights, sizes, vocabulary, metrics and training configuration
    2   `xxh3`: a hash of each other file, so that damage is noticed; `licence` of the training data
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

from limner.errors import UserError

FORMAT = 2
WEIGHTS, VOCAB, DESCRIPTION, CARD = "model.safetensors", "vocab.json", "model.json", "README.md"
HASHED = (WEIGHTS, VOCAB)
UNKNOWN = "unknown"
"""The licence of data that nobody named."""


def read_json(path: Path) -> Any:
    """The content of a small JSON file; a missing or damaged one is a `UserError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not JSON ({error}); copy it again") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """model.json of a package.

    Raises:
        UserError: the folder is no package, model.json is damaged, or its format is newer than this limner knows.
    """
    if not (folder / DESCRIPTION).is_file():
        raise UserError(
            f"{folder} is not a model package: there is no model.json; a finished run has one in RUN/package"
        )
    described = read_json(folder / DESCRIPTION)
    if not isinstance(described, dict) or not isinstance(described.get("model"), dict):
        raise UserError(f"{folder}/model.json: has no 'model' with its sizes; is it a model package of limner?")
    version = described.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(
            f"{folder}/model.json: format {version} is newer than this limner reads ({FORMAT}): update limner"
        )
    return described


def read_vocab(folder: Path) -> dict[str, list[str]]:
    """vocab.json of a package: lists of texts by name. Raises `UserError` for anything else."""
    found = read_json(folder / VOCAB)
    if not isinstance(found, dict) or not all(isinstance(words, list) for words in found.values()):
        raise UserError(f'{folder}/{VOCAB}: expected lists of words by name, such as {{"words": [...]}}; copy it again')
    return found


def hashes(folder: Path) -> dict[str, str]:
    """File -> xxh3 of its content, for what model.json keeps."""
    return {name: hash_of(folder / name) for name in HASHED}


def hash_of(path: Path) -> str:
    """The 64-bit xxh3 of a file in hexadecimal, read through a memory map: gigabytes take part of a second."""
    import xxhash

    with open(path, "rb") as file:
        if not path.stat().st_size:
            return xxhash.xxh3_64_hexdigest(b"")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return xxhash.xxh3_64_hexdigest(content)


def check_hashes(folder: Path, described: dict[str, Any]) -> None:
    """Compares the files of a package with what model.json says of them; format 1 says nothing.

    Raises:
        UserError: a file is not the one that was saved.
    """
    if described.get("format", 0) < 2:
        return
    said = described.get("xxh3")
    if not isinstance(said, dict):
        raise UserError(f"{folder}/model.json: has no 'xxh3' with the hashes of its files; copy the package again")
    wrong = [name for name, found in hashes(folder).items() if said.get(name) != found]
    if wrong:
        names = " and ".join(wrong)
        raise UserError(
            f"{folder}: {names} is not what was saved with it (its xxh3 differs from the one in model.json): damaged "
            "or changed; copy the package again"
        )
