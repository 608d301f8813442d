"""Pickled tables of published code, read without running anything in them.

A pickle can run any code when it is loaded. These readers know only plain containers, strings, numbers and arrays.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import UserError

# Python 2 and 3, numpy 1 and 2 name the same few things differently.
_PLAIN = {(module, name) for module in ("__builtin__", "builtins") for name in ("set", "frozenset", "list", "dict")}
_PLAIN |= {("collections", "OrderedDict"), ("numpy", "ndarray"), ("numpy", "dtype")}
_PLAIN |= {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}


class _Refused(Exception):
    """A pickle asks for something that is not plain data."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 of Python 3 writes the bytes of an array
            return _encode_latin1
        if (module, name) not in _PLAIN:
            raise _Refused(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"it asks for the codec {encoding}")
    return text.encode("latin1")


def load_table(path: Path) -> Any:
    """What a table file holds: .pkl (plain data only), .json, or .npy.

    Raises:
        UserError: when the file cannot be read, or a pickle holds anything but plain data.
    """
    try:
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _Refused as error:
        raise UserError(
            f"{path}: is refused, a pickle may hold only plain containers, strings, numbers and arrays, but {error}: "
            "write it as JSON"
        ) from error
    except Exception as error:  # a broken pickle raises nearly anything
        raise UserError(f"{path}: cannot be read as a table ({type(error).__name__}: {error})") from error


def read_list(path: Path, *, place: int | None = None) -> list[str]:
    """A list of texts from a .pkl or .json file.

    Args:
        path: the file. place: where the list stands when the file holds several things (dictionary.pkl holds
            `[word2idx, idx2word]`: place 1); a plain list of texts is taken as it is.

    Raises:
        UserError: there is no list of texts.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the vocabulary the model was trained with")
    found = load_table(path)
    if place is not None and isinstance(found, list) and len(found) > place and isinstance(found[place], list):
        found = found[place]
    if not isinstance(found, list) or not found or not all(isinstance(entry, str) for entry in found):
        raise UserError(f"{path}: holds a {type(found).__name__}, expected a list of texts in the order of their ids")
    return found
