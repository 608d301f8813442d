"""Reading big files piece by piece: gzip found by its first bytes, JSON arrays one record at a time.

`json.load` on the 400 MB of VQA v2 training annotations makes 4.4 million dictionaries (several GB) before the first
one can be used. `json_records` slides a window over the text instead and decodes one element of the array at a time.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from limner.errors import UserError, listing

_CHUNK = 1 << 20
_LONGEST = 1 << 24  # characters of one record: what does not decode within so many is wrong, not merely cut
_SPACE = re.compile(r"[ \t\n\r]*")
_SEPARATOR = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def open_binary(path: str | Path, *, next_step: str = "check the path") -> IO[bytes]:
    """A file opened for reading bytes, through gzip when it starts as gzip does (whatever its name).

    `next_step` ends the error line when the file is missing. Raises `UserError` when it is missing, is a folder,
    cannot be opened, or is a zip archive.
    """
    try:
        stream = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {next_step}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, expected a file; {next_step}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be opened: {error.strerror or error}") from None
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        stream.close()
        raise UserError(f"{path}: is a zip archive, expected its content; unzip it and give the file inside")
    if start[:2] == b"\x1f\x8b":
        stream.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return stream


def first_character(path: str | Path, *, next_step: str = "check the path") -> str:
    """The first character of a text file, plain or gzipped, that is no white space: `[` of a JSON list; "" without any.
    Errors as `open_binary`."""
    with open_binary(path, next_step=next_step) as stream:
        return _Window(path, io.TextIOWrapper(stream, encoding="utf-8-sig")).peek()


def json_records(path: str | Path, key: str | None, *, next_step: str = "check the path") -> Iterator[Any]:
    """The elements of a JSON array, one by one, from a plain or gzipped UTF-8 file.

    `key` names the array in the object at the top (`{"info": ..., "questions": [...]}`); None means that the file is
    itself an array. Other keys may stand before and behind; they are passed over, but must be valid JSON. The whole
    file is checked by the time the last element was given. Memory: one record and a megabyte of text.

    Raises `UserError`: missing file, damaged gzip, not UTF-8, invalid JSON (with line and column), wrong key on top.
    """
    with open_binary(path, next_step=next_step) as stream:
        text = _Window(path, io.TextIOWrapper(stream, encoding="utf-8-sig"))
        if key is None:
            if text.peek() != "[":
                raise UserError(f"{path}: starts with {text.peek()!r}, expected '[': a JSON list of records")
            yield from text.array()
        else:
            yield from _array_under(text, key)
        if text.peek():
            raise text.error("more text behind the end of the JSON value")


def json_members(
    path: str | Path, *, expected: str, inside: str | None = None, next_step: str = "check the path"
) -> Iterator[tuple[str, Any]]:
    """The members of the JSON object that a file is, one by one: `(key, value)`.

    A value that is a list comes as an iterator of its elements; what has not been drawn from it when the next member is
    asked for is passed over. Any other value comes decoded. `inside` names a key whose value is an object with such
    members of its own; they come in its place, as `("inside.key", value)`. Memory and errors are those of
    `json_records`. `expected` ends the error line when the file, or what stands under `inside`, is no object.
    """
    with open_binary(path, next_step=next_step) as stream:
        text = _Window(path, io.TextIOWrapper(stream, encoding="utf-8-sig"))
        for name in _keys(text, expected):
            if name == inside:
                if text.peek() != "{":
                    raise text.error(f"key {name!r} holds no object; expected {expected}")
                for member in _keys(text, expected):
                    yield from _member(text, f"{name}.{member}")
            else:
                yield from _member(text, name)
        if text.peek():
            raise text.error("more text behind the end of the JSON value")


def _member(text: _Window, name: str) -> Iterator[tuple[str, Any]]:
    """One member, its value stepped over when the next is asked for."""
    if text.peek() == "[":
        elements = text.array()
        yield name, elements
        for _ in elements:
            pass
    else:
        yield name, text.value()


def _keys(text: _Window, expected: str) -> Iterator[str]:
    """The keys of an object. Whoever draws one must step over its value before the next."""
    if text.peek() != "{":
        raise UserError(f"{text.path}: starts with {text.peek()!r}, expected '{{': {expected}")
    text.expect("{")
    if text.peek() == "}":
        text.expect("}")
        return
    while True:
        if text.peek() != '"':
            raise text.error("expected a key in double quotes")
        name = text.value()
        text.expect(":")
        yield name
        if text.expect(",}") == "}":
            return


def _array_under(text: _Window, key: str) -> Iterator[Any]:
    """The elements of `{..., key: [...], ...}`."""
    seen: list[str] = []
    for name in _keys(text, f"an object with the key {key!r}"):
        seen.append(name)
        if name == key:
            if text.peek() != "[":
                raise text.error(f"key {key!r} holds no list")
            yield from text.array()
        elif text.peek() == "[":
            for _ in text.array():  # may be as long as the one we want: not into memory
                pass
        else:
            text.value()
    if key not in seen:
        found = listing(repr(name) for name in seen) or "none"
        raise UserError(f"{text.path}: no key {key!r} at the top; found {found}; is this the right file?")


class _Window:
    """The part of a JSON text in memory, and where in the file it is."""

    def __init__(self, path: str | Path, stream: IO[str]) -> None:
        self.path, self._stream = path, stream
        self._text, self._at = "", 0
        self._line, self._column = 1, 1  # of the window's first character
        self._ended = False

    def peek(self) -> str:
        """The next character that is no white space, "" at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def expect(self, allowed: str) -> str:
        """Step over the next character, which must be one of `allowed`."""
        found = self.peek()
        if not found:
            raise self.error("the file ends too early: was the download cut?")
        if found not in allowed:
            raise self.error(f"found {found!r}, expected " + " or ".join(repr(c) for c in allowed))
        self._at += 1
        return found

    def value(self) -> Any:
        """Decode the next value; what does not decode may be cut by the window's end, so look further first."""
        if self._at >= len(self._text) or self._text[self._at] in " \t\n\r":
            self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._grow():
                    continue
                cut = error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated string")
                if self._ended and cut:
                    raise self.error("the file ends too early: was the download cut?", error.pos) from None
                raise self.error(error.msg, error.pos) from None
            if end > len(self._text) - 4 and self._grow():  # a number cut at "1", "1." or "1e-" decodes as 1
                continue
            self._at = end
            return value

    def array(self) -> Iterator[Any]:
        """Step through an array, one decoded element at a time."""
        self.expect("[")
        if self.peek() == "]":
            self.expect("]")
            return
        while True:
            yield self.value()
            found = _SEPARATOR.match(self._text, self._at)  # nearly always it stands in the window
            if found is not None:
                self._at = found.end()
            if (found[1] if found is not None else self.expect(",]")) == "]":
                return

    def error(self, message: str, position: int | None = None) -> UserError:
        """A `UserError` that tells the line and the column of a position in the window (default: where we are)."""
        line, column = self._place(self._at if position is None else position)
        return UserError(f"{self.path}: invalid JSON at line {line:,}, column {column:,}: {message}")

    def _place(self, position: int) -> tuple[int, int]:
        newline = self._text.rfind("\n", 0, position)
        line = self._line + self._text.count("\n", 0, position)
        return line, (position - newline if newline >= 0 else self._column + position)

    def _grow(self) -> bool:
        """Forget what was read, take in one more chunk; False at the end or when one record is longer than any is."""
        if self._ended or len(self._text) - self._at > _LONGEST:
            return False
        try:
            chunk = self._stream.read(_CHUNK)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.path}: is not UTF-8 text ({error.reason}); expected JSON, plain or gzipped"
            ) from None
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"{self.path}: damaged or cut gzip file ({error}); get it again") from None
        if not chunk:
            self._ended = True
            return False
        self._line, self._column = self._place(self._at)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return True
