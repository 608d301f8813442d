"""The table of data sets (`sets.yaml`): what can be fetched, from where, and how it is known to be right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from limner.errors import UserError, listing

TABLE = Path(__file__).with_name("sets.yaml")
STATES = ("answers", "unverified", "dead")
_SET = {"about", "licence", "home", "to", "with", "advice", "then", "files"}
_FILE = {"name", "as", "holds", "size", "sha256", "from"}


@dataclass(frozen=True)
class Address:
    """Where a file can be fetched. state: one of `STATES`, as `told`."""

    url: str
    state: str = "unverified"
    told: str = ""


@dataclass(frozen=True)
class File:
    """One file to fetch. places: what it becomes, path in the data set's folder -> name in the archive, or the one path
    -> None for a file that is no archive. size, sha256: of the file as it is fetched; None: not known."""

    name: str
    places: dict[str, str | None]
    addresses: tuple[Address, ...]
    size: int | None = None
    sha256: str | None = None

    @property
    def packed(self) -> bool:
        """Is it an archive?"""
        return None not in self.places.values()


@dataclass(frozen=True)
class DataSet:
    """A data set of others. together: names of the sets that belong into the same folder."""

    name: str
    about: str
    licence: str
    home: str
    to: str
    files: tuple[File, ...]
    together: tuple[str, ...] = ()
    advice: str = ""
    then: tuple[str, ...] = ()


def read_table(path: Path = TABLE) -> dict[str, DataSet]:
    """The data sets of a table, by name.

    Raises:
        UserError: it cannot be read, or an entry is not as `sets.yaml` describes.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"{path}: cannot be read as a table of data sets: {told}") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path}: holds no data sets; expected NAME: {{about, licence, home, to, files}}")
    sets = {}
    for name, entry in found.items():
        try:
            sets[str(name)] = _data_set(str(name), entry)
        except _Wrong as wrong:
            raise UserError(f"{path}: {name}: {wrong}; src/limner/fetch/sets.yaml explains the keys") from None
    for one in sets.values():
        lost = [name for name in one.together if name not in sets]
        if lost:
            raise UserError(f"{path}: {one.name}: with: there is no set {listing(lost)}")
    return sets


class _Wrong(Exception):
    """What is wrong in an entry."""


def _data_set(name: str, entry: Any) -> DataSet:
    given = _keys(entry, _SET, needed={"licence", "to", "files"})
    if not isinstance(given["files"], list) or not given["files"]:
        raise _Wrong("files: expected a list of files")
    return DataSet(
        name,
        about=_text(given, "about"),
        licence=_text(given, "licence"),
        home=_text(given, "home"),
        to=_text(given, "to"),
        files=tuple(_file(record) for record in given["files"]),
        together=_texts(given, "with"),
        advice=_text(given, "advice"),
        then=_texts(given, "then"),
    )


def _file(record: Any) -> File:
    given = _keys(record, _FILE, needed={"name", "from"})
    name = _inside(_text(given, "name"))
    if "/" in name:
        raise _Wrong(f"name: {name!r} is a path, expected the name of a file")
    holds = given.get("holds", [])
    if not isinstance(holds, list) or ("holds" in given and (not holds or "as" in given or not name.endswith(".zip"))):
        raise _Wrong(f"{name}: holds: expected a list of files in a .zip, which has no `as`")
    places: dict[str, str | None] = {}
    for one in holds:
        place, member = next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else (one, one)
        places[_inside(str(place))] = str(member)
    if not places:
        places[_inside(_text(given, "as") or name)] = None
    size, sha256 = given.get("size"), given.get("sha256")
    if size is not None and (type(size) is not int or size < 0):
        raise _Wrong(f"{name}: size is {size!r}, expected a number of bytes")
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
        raise _Wrong(f"{name}: sha256 is {sha256!r}, expected 64 hexadecimal digits")
    if not isinstance(given["from"], list):
        raise _Wrong(f"{name}: from: expected a list of addresses")
    return File(name, places, tuple(_address(one) for one in given["from"]), size, sha256)


def _address(record: Any) -> Address:
    given = _keys({"url": record} if isinstance(record, str) else record, {"url", "state", "told"}, needed={"url"})
    address = Address(_text(given, "url"), given.get("state", "unverified"), _text(given, "told"))
    if urlsplit(address.url).scheme not in ("http", "https") or not urlsplit(address.url).netloc:
        raise _Wrong(f"from: {address.url!r} is no address of the web, expected https://... or http://...")
    if address.state not in STATES:
        raise _Wrong(f"from: state: found {address.state!r}, expected one of {', '.join(STATES)}")
    return address


def _keys(record: Any, known: set[str], needed: set[str]) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise _Wrong(f"found {record!r}, expected the keys {', '.join(sorted(known))}")
    if set(record) - known:
        raise _Wrong(f"unknown key {listing(sorted(map(str, set(record) - known)))}")
    if needed - set(record):
        raise _Wrong(f"{record.get('name', '')}: has no key {listing(sorted(needed - set(record)))}".lstrip(": "))
    return record


def _text(given: dict[str, Any], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise _Wrong(f"{key} is {value!r}, expected a text")
    return value


def _texts(given: dict[str, Any], key: str) -> tuple[str, ...]:
    values = given.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _Wrong(f"{key} is {values!r}, expected a list of texts")
    return tuple(values)


def _inside(place: str) -> str:
    """A path that stays in the folder of the data set."""
    path = PurePosixPath(place)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in place or ":" in place:
        raise _Wrong(f"{place!r} leaves the folder of the data set")
    return str(path)
