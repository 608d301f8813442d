"""A reader of pickles that can run nothing: a small stack machine over the opcodes of protocols 0 to 5.

`pickle.Unpickler` calls what a pickle names, and even with every name checked its C code can be made to set aside
gigabytes (a memo index, a length) or to hash for years. Here a name is only a key of `MAKERS`, whose few entries build
containers and arrays; nothing is imported, called by name or set as an attribute. Every length is checked against what
the file has, copies count against a budget, and what comes out is a tree of bounded depth and size.

Texts of Python 2 (`str`) are read as latin-1, as everyone reads them. `argparse.Namespace` comes as the dict of its
attributes.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from limner.data.pickle_values import MAKERS, Array, Broken, Dtype, Name, Refused, array, as_key, plain
from limner.errors import short

COPIED = 64  # bytes that may be made for each byte of the pickle, beside the first megabytes
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}


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
                return plain(value, self.budget)
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

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Broken("names something, but not by texts")
        for old, new in _OLD_MODULES.items():
            if module == old or module.startswith(old + "."):
                module = new + module[len(old) :]
        full = f"{module}.{name}"
        if full not in MAKERS:
            raise Refused(f"asks for {full if full.isprintable() and len(full) < 100 else short(full)}")
        self.push(Name(full))

    def set_items(self, target: dict[Any, Any], pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise Broken(f"is broken at byte {self.at:,}: a key without a value")
        target.update(zip(map(as_key, pairs[::2]), pairs[1::2]))

    def make(self, callee: Any, args: Any) -> None:
        if not isinstance(callee, Name) or not isinstance(args, tuple):
            raise Refused(f"calls a {type(callee).__name__}")
        self.push(MAKERS[callee.name](self.spend, *args))

    def build(self) -> None:
        """Gives the object on top its state: only arrays, their types and argparse's namespaces have one."""
        state, target = self.pop(), self.pop()
        if isinstance(target, Dtype):
            _, order, sub, names, fields, *_ = state
            if order not in ("<", ">", "=", "|") or (sub, names, fields) != (None, None, None):
                raise Refused(f"has an array of the structured type {target.code}")
            target.code = (order if order in "<>" else "") + target.code.lstrip("<>=|")
            self.push(target)
        elif isinstance(target, Array):
            _, shape, kind, fortran, raw = state
            found = array(self.spend, raw, kind, shape, "F" if fortran else "C")
            self.memo.update(dict.fromkeys(target.places, found))
            self.push(found)
        elif isinstance(target, dict) and isinstance(state, dict):  # a Namespace; an ordinary dict is never built
            self.spend(64 * len(state))
            target.update(state)
            self.push(target)
        else:
            raise Refused(f"sets attributes of a {type(target).__name__}")


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
    value = machine.stack[-1]
    machine.memo[place] = value
    if isinstance(value, Array):
        value.places.append(place)


def _recall(machine: _Machine, place: int) -> None:
    machine.push(machine.memo[place])


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _reduce(machine: _Machine) -> None:
    args = machine.pop()
    machine.make(machine.pop(), args)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


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
    0x90: lambda m: (lambda found: m.top(set).update(map(as_key, found)))(m.items()),
    0x91: lambda m: m.push(frozenset(map(as_key, m.items()))),
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
