"""What a pickle may make: plain containers and arrays, each by a function here, under the name a pickle calls it.

See `limner.data.plain_pickle`, which reads the opcodes. What is made without as many bytes of the pickle is told to
`spend`, which refuses when it is too much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

DEPTH = 64  # containers within containers
_DTYPE = re.compile(r"[<>=|]?(?:[?bBhHiIlLqQefdFDO]|[iu][1248]|f[248]|c(?:8|16)|b1|O8|[SUa]\d{1,9})")
_SCALARS = (str, bytes, int, float, bool, type(None))
Spend = Callable[[int], None]


class Refused(ValueError):
    """A pickle asks for something that is not plain data; the message follows "it"."""


class Broken(Refused):
    """It is cut short, or no pickle at all."""


class Name:
    """A global that the pickle names: a key of `MAKERS`, never the thing itself."""

    def __init__(self, name: str) -> None:
        self.name = name


class Dtype:
    """A number type under construction; its state only tells the byte order."""

    def __init__(self, code: str) -> None:
        self.code = code

    def build(self) -> np.dtype:
        return np.dtype(self.code)


class Array:
    """What `_reconstruct` makes: an array that waits for its state."""

    def __init__(self) -> None:
        self.places: list[int] = []  #: where the memo holds it


def array(spend: Spend, raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """An array from its bytes, or from a list of objects.

    Raises:
        Refused: shape, type and bytes do not fit together.
    """
    if not isinstance(kind, Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise Refused("holds an array without a plain type and shape")
    dtype = kind.build()
    size = math.prod(_side(side) for side in shape)
    if dtype.hasobject:
        if not isinstance(raw, list) or len(raw) != size:
            raise Refused(f"holds an array of {size:,} objects with {type(raw).__name__} for them")
        spend(8 * size)
        flat = np.empty(size, object)
        flat[:] = raw if size != 1 else None
        if size == 1:  # `flat[:] = [[1, 2]]` would spread the inner list
            flat[0] = raw[0]
        return flat.reshape(shape, order=order)
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, (bytes, bytearray)) or len(data) != size * dtype.itemsize:
        found = f"{len(data):,} bytes" if isinstance(data, (bytes, bytearray)) else type(raw).__name__
        raise Refused(f"holds an array of {dtype} {shape} with {found} of data")
    spend(len(data))
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order=order)


def _side(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Refused(f"holds an array with a side of {value!r}")
    return value


def as_key(value: Any) -> Any:
    """A key that hashes at once: a scalar, or a tuple of scalars (nested ones can take for ever)."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, _SCALARS) for part in parts):
        if isinstance(value, np.generic):
            return value
        raise Refused(f"has a {type(value).__name__} for a key")
    return value


def _copied(spend: Spend, values: Any = ()) -> list[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise Refused(f"makes a container of a {type(values).__name__}")
    spend(16 * len(values) + 64)
    return list(values)


def _dict(spend: Spend, values: Any = ()) -> dict[Any, Any]:
    pairs = list(values.items()) if isinstance(values, dict) else _copied(spend, values)
    spend(64 * len(pairs) + 64)
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise Refused("makes a dict of what are no pairs")
    return {as_key(key): value for key, value in pairs}


def _bytes(spend: Spend, value: Any = b"", encoding: str = "latin-1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(value, (str, bytes, bytearray)):
        raise Refused(f"makes bytes of a {type(value).__name__} in {encoding!r}")
    spend(len(value))
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def _dtype(spend: Spend, code: Any, *_: Any) -> Dtype:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise Refused(f"holds an array of the type {code!r}")
    return Dtype(code)


def _scalar(spend: Spend, kind: Any, raw: Any) -> Any:
    found = array(spend, raw, kind, (), "C")
    if found.dtype.hasobject:
        raise Refused("holds a number that is an object")
    return found[()]


def _empty_array(spend: Spend, kind: Any, *_: Any) -> Array:
    if not isinstance(kind, Name) or kind.name != "numpy.ndarray":
        raise Refused("reconstructs something that is no array")
    return Array()


def _frombuffer(spend: Spend, raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return array(spend, raw, kind, shape, order)


def _old_instance(spend: Spend, kind: Any, base: Any, state: Any) -> dict[Any, Any]:
    """How protocols 0 and 1 write an object of a class: here only argparse's."""
    if not (isinstance(kind, Name) and isinstance(base, Name)) or base.name != "builtins.object" or state is not None:
        raise Refused("reconstructs an object")
    if kind.name != "argparse.Namespace":
        raise Refused(f"reconstructs a {kind.name}")
    return {}


def _never(spend: Spend, *_: Any) -> Any:
    raise Refused("calls a class that plain data never call")


def _default_dict(spend: Spend, factory: Any = None, values: Any = ()) -> dict[Any, Any]:
    return _dict(spend, values)


MAKERS: dict[str, Callable[..., Any]] = {
    "builtins.list": _copied,
    "builtins.dict": _dict,
    "builtins.set": lambda spend, values=(): set(map(as_key, _copied(spend, values))),
    "builtins.frozenset": lambda spend, values=(): frozenset(map(as_key, _copied(spend, values))),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.int": _never,  # names that stand as arguments only
    "builtins.float": _never,
    "builtins.object": _never,
    "_codecs.encode": _bytes,  # how protocols 0 to 2 of Python 3 write bytes
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _default_dict,
    "copyreg._reconstructor": _old_instance,
    "argparse.Namespace": lambda spend: {},
    "numpy.ndarray": _never,
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _frombuffer,
}


def plain(value: Any, budget: int) -> Any:
    """The value, when it is a tree of plain things: no cycle, not too deep, not too large with what is shared counted
    each time (a pickle of 200 bytes can hold a list that would print for ever)."""
    done: dict[int, tuple[int, int]] = {}  # id of a container -> (depth, nodes)
    above: set[int] = set()
    todo = [(value, False)] if _is_container(value) else []
    while todo:
        node, leaving = todo.pop()
        inner = [part for part in _parts(node) if _is_container(part)]
        if leaving:
            depth = 1 + max((done[id(part)][0] for part in inner), default=0)
            nodes = 1 + len(_parts(node)) + sum(done[id(part)][1] for part in inner)
            if depth > DEPTH:
                raise Refused(f"nests containers more than {DEPTH} deep")
            if nodes > budget:
                raise Refused("would take far more memory than its own size")
            done[id(node)] = depth, nodes
            above.discard(id(node))
        elif id(node) in above:
            raise Refused("holds a container that holds itself")
        elif id(node) not in done:
            above.add(id(node))
            todo.append((node, True))
            todo.extend((part, False) for part in inner)
    return value


def _is_container(node: Any) -> bool:
    if isinstance(node, (Name, Dtype, Array)):
        raise Refused(f"holds {getattr(node, 'name', 'an unfinished array')} itself")
    return isinstance(node, (list, tuple, dict, set, frozenset)) or (isinstance(node, np.ndarray) and node.dtype == "O")


def _parts(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node.reshape(-1).tolist() if isinstance(node, np.ndarray) else list(node)
