"""Tables and arrays of published code from .pkl, .npy, .npz and .json files, read without running anything in them.

A pickle can run any code when it is loaded. These readers know only plain containers, texts, numbers and arrays
(`limner.data.plain_pickle`), also where a pickle hides inside an .npy file.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.pickle_values import Broken, Refused
from limner.data.plain_pickle import loads
from limner.errors import UserError

ENTRY = 1 << 30  # bytes that one array of an .npz file may have


def read_pickle(data: bytes, where: object) -> Any:
    """What a pickle holds.

    Args:
        data: the pickle. where: the file, and the place in it, for the error line.

    Raises:
        UserError: it holds anything but plain data, or is broken.
    """
    try:
        return loads(data)
    except Broken as error:
        raise UserError(f"{where}: cannot be read as a pickle, it {error}: copy it again") from error
    except Refused as error:
        raise UserError(
            f"{where}: is refused, a pickle may hold only plain containers, strings, numbers and arrays, "
            f"but it {error}: write what is needed of it as JSON or .npy"
        ) from error


def read_npy(data: bytes, where: object) -> Any:
    """The array of an .npy file; object arrays come through the same reader as pickles.

    Raises:
        UserError: it is cut short, broken, or refused as a pickle.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # an evaluated header fails in many ways
        raise UserError(f"{where}: is no .npy array ({error})") from error
    at = stream.tell()
    if dtype.hasobject:
        found = read_pickle(data[at:], where)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            raise UserError(f"{where}: promises objects of shape {shape}, holds a {type(found).__name__}")
        return found
    size = math.prod(shape)
    if at + size * dtype.itemsize != len(data):
        raise UserError(
            f"{where}: is cut short or too long: {shape} of {dtype} are {size * dtype.itemsize:,} bytes, "
            f"found {len(data) - at:,}: copy it again"
        )
    return np.frombuffer(data, dtype, size, at).reshape(shape, order="F" if fortran else "C")


def read_npz(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file by name.

    Raises:
        UserError: it is no such archive, damaged, or an array in it is refused.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if (total := sum(entry.file_size for entry in entries)) > ENTRY:
                raise UserError(f"{path}: unpacks to {total:,} bytes, expected the arrays of one image")
            data = {entry.filename.removesuffix(".npy"): archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an .npz archive ({error}): copy it again") from error
    except Exception as error:  # zlib and its like
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is damaged ({type(error).__name__}: {error}): copy it again") from error
    return {name: read_npy(content, f"{path}, {name}") for name, content in data.items()}


def load_table(path: Path) -> Any:
    """What a table file holds: .pkl (plain data only), .json, or .npy.

    Raises:
        UserError: when the file cannot be read, or a pickle holds anything but plain data.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".json":
            return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as a table ({type(error).__name__}: {error})") from error
    return read_npy(data, path) if path.suffix == ".npy" else read_pickle(data, path)


def read_list(path: Path) -> list[str]:
    """Texts in the order of their ids from a .pkl or .json file.

    It holds a list of texts (trainval_label2ans.pkl), a dict text -> id (trainval_ans2label.pkl), or a pair of both
    (dictionary.pkl: `[word2idx, idx2word]`), which must agree.

    Raises:
        UserError: the file is missing or refused, holds none of these, or its ids are not 0, 1, 2, ...
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the vocabulary the model was trained with")
    found = load_table(path)
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[0], dict):
        return _texts(found, path)
    words = _texts(found[1], path)
    if found[0] and _texts(found[0], path) != words:
        raise UserError(f"{path}: its dict numbers the words otherwise than its list: copy it again")
    return words


def _texts(found: Any, path: Path) -> list[str]:
    """A list of texts, or the keys of a dict in the order of its numbers."""
    if isinstance(found, dict) and found and all(isinstance(word, str) for word in found):
        if sorted(map(repr, found.values())) != sorted(map(repr, range(len(found)))):
            raise UserError(f"{path}: its ids are not 0 to {len(found) - 1:,}, each once: copy it again")
        return sorted(found, key=lambda word: found[word])
    if not isinstance(found, list) or not found or not all(isinstance(entry, str) for entry in found):
        raise UserError(f"{path}: holds a {type(found).__name__}, expected a list of texts in the order of their ids")
    return found
