"""A reader of pickles that can run nothing: a small stack machine over the opcodes of protocols 0 to 5.

`pickle.Unpickler` calls what a pickle names, and even with every name checked its C code can be made to set aside
gigabytes (a memo index, a length) or to hash for years. Here a name is only a key of `_MAKERS`, whose few entries build
containers and arrays; nothing is imported, called by name or set as an attribute. Every length is checked against what
the file has, copies count against a budget, and what comes out is a tree of bounded depth and size.

Texts of Python 2 (`str`) are read as latin-1, as everyone reads them. `argparse.Namespace` comes as the dict of its
attributes.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

DEPTH = 64  # containers within containers
COPIED = 64  # bytes that may be made for each byte of the pickle, beside the first megabytes
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}
_DTYPE = re.compile(r"[<>=|]?(?:[?bBhHiIlLqQefdFDO]|[iu][1248]|f[248]|c(?:8|16)|b1|O8|[SUa]\d{1,9})")
_SCALARS = (str, bytes, int, float, bool, type(None))


class Refused(ValueError):
    """A pickle asks for something that is not plain data; the message follows "it"."""


class Broken(Refused):
    """It is cut short, or no pickle at all."""


class _Name:
    """A global that the pickle names: a key of `_MAKERS`, never the thing itself."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Dtype:
    """A number type under construction; its state only tells the byte order."""

    def __init__(self, code: str) -> None:
        self.code = code

    def build(self) -> np.dtype:
        return np.dtype(self.code)


class _Array:
    """What `_reconstruct` makes: an array that waits for its state."""


class _Mark:
    pass


_MARK = _Mark()


def loads(data: bytes) -> Any:
    """What a pickle holds: dicts, lists, tuples, sets, texts, bytes, numbers, None, arrays and their numbers.

    Raises:
        Refused: it names anything else, or would take far more memory than its own size.
        Broken: it is cut short, or no pickle.
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except Refused:
        raise
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error, AttributeError) as error:
        raise Broken(f"is broken at byte {machine.at:,} ({type(error).__name__}: {error})") from error


class _Machine:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = COPIED * len(data) + (16 << 20)

    def run(self) -> Any:
        while True:
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                (value,) = self.stack
                return _plain(value, self.budget)
            step = _STEPS.get(code)
            if step is None:
                raise Broken(f"uses the opcode {bytes([code])!r}, which plain data never need")
            step(self)

    def take(self, count: int) -> bytes:
        stop = self.at + count
        if count < 0 or stop > len(self.data):
            raise Broken(f"is cut short: {count:,} bytes promised at byte {self.at:,}, {len(self.data):,} in all")
        piece = self.data[self.at : stop]
        self.at = stop
        return piece

    def number(self, kind: str) -> int:
        return struct.unpack(kind, self.take(struct.calcsize(kind)))[0]

    def line(self) -> bytes:
        stop = self.data.find(b"\n", self.at)
        if stop < 0:
            raise Broken(f"is cut short in the line at byte {self.at:,}")
        piece = self.data[self.at : stop]
        self.at = stop + 1
        return piece

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Broken(f"is broken at byte {self.at:,}: a mark where a value should be")
        return value

    def items(self) -> list[Any]:
        """What was pushed since the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise Broken(f"is broken at byte {self.at:,}: no mark")

    def top(self, *kinds: type) -> Any:
        value = self.stack[-1]
        if type(value) not in kinds:
            raise Broken(f"is broken at byte {self.at:,}: it fills a {type(value).__name__}")
        return value

    def spend(self, size: int) -> None:
        """Counts what is made without as many bytes of the pickle."""
        self.budget -= size
        if self.budget < 0:
            raise Refused("would take far more memory than its own size")

    def name(self, module: str, name: str) -> None:
        for old, new in _OLD_MODULES.items():
            if module == old or module.startswith(old + "."):
                module = new + module[len(old) :]
        full = f"{module}.{name}"
        if full not in _MAKERS:
            raise Refused(f"asks for {full}")
        self.push(_Name(full))

    def set_items(self, target: dict[Any, Any], pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise Broken(f"is broken at byte {self.at:,}: a key without a value")
        target.update(zip(map(_key, pairs[::2]), pairs[1::2]))

    def make(self, callee: Any, args: Any) -> None:
        if not isinstance(callee, _Name) or not isinstance(args, tuple):
            raise Refused(f"calls a {type(callee).__name__}")
        self.push(_MAKERS[callee.name](self, *args))

    def build(self) -> None:
        """Gives the object on top its state: only arrays, their types and argparse's namespaces have one."""
        state, target = self.pop(), self.pop()
        if isinstance(target, _Dtype):
            _, order, sub, names, fields, *_ = state
            if order not in ("<", ">", "=", "|") or (sub, names, fields) != (None, None, None):
                raise Refused(f"has an array of the structured type {target.code}")
            target.code = (order if order in "<>" else "") + target.code.lstrip("<>=|")
            self.push(target)
        elif isinstance(target, _Array):
            _, shape, kind, fortran, raw = state
            array = self.array(raw, kind, shape, "F" if fortran else "C")
            for place in [place for place, held in self.memo.items() if held is target]:
                self.memo[place] = array
            self.push(array)
        elif isinstance(target, dict) and isinstance(state, dict):  # a Namespace; an ordinary dict is never built
            target.update(state)
            self.push(target)
        else:
            raise Refused(f"sets attributes of a {type(target).__name__}")

    def array(self, raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
        if not isinstance(kind, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
            raise Refused("holds an array without a plain type and shape")
        dtype = kind.build()
        size = math.prod(_natural(side) for side in shape)
        if dtype.hasobject:
            if not isinstance(raw, list) or len(raw) != size:
                raise Refused(f"holds an array of {size:,} objects with {type(raw).__name__} for them")
            self.spend(8 * size)
            flat = np.empty(size, object)
            flat[:] = raw if size != 1 else None
            if size == 1:  # `flat[:] = [[1, 2]]` would spread the inner list
                flat[0] = raw[0]
            return flat.reshape(shape, order=order)
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(data, (bytes, bytearray)) or len(data) != size * dtype.itemsize:
            found = f"{len(data):,} bytes" if isinstance(data, (bytes, bytearray)) else type(raw).__name__
            raise Refused(f"holds an array of {dtype} {shape} with {found} of data")
        self.spend(len(data))
        return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order=order)


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Refused(f"holds an array with a side of {value!r}")
    return value


def _key(value: Any) -> Any:
    """A key that hashes at once: a scalar, or a tuple of scalars (nested ones can take for ever)."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, _SCALARS) for part in parts):
        if isinstance(value, np.generic):
            return value
        raise Refused(f"has a {type(value).__name__} for a key")
    return value


def _copied(machine: _Machine, values: Any = ()) -> list[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise Refused(f"makes a container of a {type(values).__name__}")
    machine.spend(16 * len(values) + 64)
    return list(values)


def _dict(machine: _Machine, values: Any = ()) -> dict[Any, Any]:
    pairs = list(values.items()) if isinstance(values, dict) else _copied(machine, values)
    machine.spend(64 * len(pairs) + 64)
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise Refused("makes a dict of what are no pairs")
    return {_key(key): value for key, value in pairs}


def _bytes(machine: _Machine, value: Any = b"", encoding: str = "latin-1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(value, (str, bytes, bytearray)):
        raise Refused(f"makes bytes of a {type(value).__name__} in {encoding!r}")
    machine.spend(len(value))
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def _dtype(machine: _Machine, code: Any, *_: Any) -> _Dtype:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise Refused(f"holds an array of the type {code!r}")
    return _Dtype(code)


def _scalar(machine: _Machine, kind: Any, raw: Any) -> Any:
    found = machine.array(raw, kind, (), "C")
    if found.dtype.hasobject:
        raise Refused("holds a number that is an object")
    return found[()]


def _empty_array(machine: _Machine, kind: Any, *_: Any) -> _Array:
    if not isinstance(kind, _Name) or kind.name != "numpy.ndarray":
        raise Refused("reconstructs something that is no array")
    return _Array()


def _frombuffer(machine: _Machine, raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return machine.array(raw, kind, shape, order)


def _old_instance(machine: _Machine, kind: Any, base: Any, state: Any) -> dict[Any, Any]:
    """How protocols 0 and 1 write an object of a class: here only argparse's."""
    if not (isinstance(kind, _Name) and isinstance(base, _Name)) or base.name != "builtins.object" or state is not None:
        raise Refused("reconstructs an object")
    if kind.name != "argparse.Namespace":
        raise Refused(f"reconstructs a {kind.name}")
    return {}


def _never(machine: _Machine, *_: Any) -> Any:
    raise Refused("calls a class that plain data never call")


def _default_dict(machine: _Machine, factory: Any = None, values: Any = ()) -> dict[Any, Any]:
    return _dict(machine, values)


_MAKERS: dict[str, Callable[..., Any]] = {
    "builtins.list": _copied,
    "builtins.dict": _dict,
    "builtins.set": lambda machine, values=(): set(map(_key, _copied(machine, values))),
    "builtins.frozenset": lambda machine, values=(): frozenset(map(_key, _copied(machine, values))),
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
    "argparse.Namespace": lambda machine: {},
    "numpy.ndarray": _never,
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _frombuffer,
}


def _plain(value: Any, budget: int) -> Any:
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
    if isinstance(node, (_Name, _Dtype, _Array, _Mark)):
        raise Refused(f"holds {getattr(node, 'name', 'an unfinished array')} itself")
    return isinstance(node, (list, tuple, dict, set, frozenset)) or (isinstance(node, np.ndarray) and node.dtype == "O")


def _parts(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node.reshape(-1).tolist() if isinstance(node, np.ndarray) else list(node)


def _text(machine: _Machine, count: int) -> None:
    machine.push(machine.take(count).decode("utf-8", "surrogatepass"))


def _old_text(machine: _Machine, count: int) -> None:
    machine.push(machine.take(count).decode("latin1"))


def _integer(machine: _Machine) -> None:
    line = machine.line()
    machine.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))


def _quoted(machine: _Machine) -> None:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Broken(f"is broken at byte {machine.at:,}: a text without quotes")
    machine.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))


def _long(machine: _Machine, count: int) -> None:
    machine.push(int.from_bytes(machine.take(count), "little", signed=True))


def _remember(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


def _recall(machine: _Machine, place: int) -> None:
    machine.push(machine.memo[place])


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _reduce(machine: _Machine) -> None:
    args = machine.pop()
    machine.make(machine.pop(), args)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(str(module), str(name))


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items(machine.top(dict), [key, value])


def _set_items(machine: _Machine) -> None:
    pairs = machine.items()
    machine.set_items(machine.top(dict), pairs)


def _tuple(machine: _Machine, count: int) -> None:
    found = tuple(machine.pop() for _ in range(count))[::-1]
    machine.push(found)


def _new_dict(machine: _Machine) -> None:
    pairs = machine.items()
    machine.push({})
    machine.set_items(machine.stack[-1], pairs)


def _instance(machine: _Machine) -> None:
    """INST: a class by name, called with what stands since the mark."""
    module, name = machine.line().decode("latin1"), machine.line().decode("latin1")
    machine.name(module, name)
    machine.make(machine.pop(), tuple(machine.items()))


def _object(machine: _Machine) -> None:
    """OBJ: the same, the class first on the stack."""
    callee, *args = machine.items()
    machine.make(callee, tuple(args))


_STEPS: dict[int, Callable[[_Machine], Any]] = {
    ord("("): lambda m: m.push(_MARK),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.items(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _integer,
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("L"): lambda m: m.push(int(m.line().rstrip(b"L"))),
    0x8A: lambda m: _long(m, m.number("<B")),
    0x8B: lambda m: _long(m, m.number("<i")),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("S"): _quoted,
    ord("T"): lambda m: _old_text(m, m.number("<i")),
    ord("U"): lambda m: _old_text(m, m.number("<B")),
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): lambda m: _text(m, m.number("<I")),
    0x8C: lambda m: _text(m, m.number("<B")),
    0x8D: lambda m: _text(m, m.number("<Q")),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    ord("C"): lambda m: m.push(m.take(m.number("<B"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),  # a bytearray; here as bytes
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.items()),
    ord("a"): lambda m: _append(m, [m.pop()]),
    ord("e"): lambda m: _append(m, m.items()),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.items())),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("}"): lambda m: m.push({}),
    ord("d"): _new_dict,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: lambda m: m.push(set()),
    0x90: lambda m: (lambda found: m.top(set).update(map(_key, found)))(m.items()),
    0x91: lambda m: m.push(frozenset(map(_key, m.items()))),
    ord("p"): lambda m: _remember(m, int(m.line())),
    ord("q"): lambda m: _remember(m, m.number("<B")),
    ord("r"): lambda m: _remember(m, m.number("<I")),
    0x94: lambda m: _remember(m, len(m.memo)),
    ord("g"): lambda m: _recall(m, int(m.line())),
    ord("h"): lambda m: _recall(m, m.number("<B")),
    ord("j"): lambda m: _recall(m, m.number("<I")),
    ord("c"): lambda m: m.name(m.line().decode("latin1"), m.line().decode("latin1")),
    0x93: _stack_global,
    ord("i"): _instance,
    ord("o"): _object,
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ: cls.__new__(cls, *args)
    ord("b"): lambda m: m.build(),
    0x80: lambda m: m.take(1),  # the protocol
    0x95: lambda m: m.take(8),  # the length of a frame
}
