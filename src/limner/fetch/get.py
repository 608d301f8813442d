"""A data set into a folder: what is there is verified, what is missing is fetched, verified and unpacked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from limner.errors import UserError
from limner.fetch.sources import Sources
from limner.fetch.table import Address, DataSet, File
from limner.fetch.transfer import GivenUp, Show, discard, transfer
from limner.fetch.unpack import Damaged, copy, sha256, unpack
from limner.files import only_writer

LARGE = 1 << 30  # bytes that take a while to read
Tell = Callable[[str], None]
Watch = Callable[[str], Show]  # the name of a file -> what is called while it comes


@dataclass
class Outcome:
    """What became of the files. lost: the name of a file that could not be had -> why, one line each."""

    there: list[str] = field(default_factory=list)
    came: list[str] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)


def wanted(name: str, sets: Mapping[str, DataSet]) -> Iterator[tuple[DataSet, File]]:
    """The files of a data set and of those that belong to it."""
    for one in (name, *sets[name].together):
        for file in sets[one].files:
            yield sets[one], file


def get(
    files: Iterable[tuple[DataSet, File]], folder: Path, *, by_hand: Path | None = None, tell: Tell, watch: Watch
) -> Outcome:
    """Brings files into a folder.

    Args:
        files: what is wanted.
        folder: where to; made when missing.
        by_hand: a folder with files fetched by hand; then nothing is asked of the network.
        tell: takes a line for people. watch: tells how far a file is.

    Raises:
        UserError: the folder or the disk is at fault, or another process fetches into the folder. A file that cannot be
            had does not stop the others; it is in the outcome.
    """
    outcome = Outcome()
    with _alone(folder):
        sources = Sources(folder)
        for owner, file in files:
            try:
                lacks = _missing(owner, file, sources, tell)
                outcome.there += [place for place in file.places if place not in lacks]
                if not lacks:
                    continue
                for place in _bring(owner, replace(file, places=lacks), sources, by_hand, tell, watch):
                    tell(f"{folder / place}: {(folder / place).stat().st_size:,} bytes")
                    outcome.came.append(place)
            except _Lost as lost:
                outcome.lost[file.name] = lost.reasons
    return outcome


class _Lost(Exception):
    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder is there, and no other process fetches into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder if sys.platform != "win32" else os.devnull, os.O_RDONLY)  # there folders have no locks
    except OSError as error:
        raise UserError(f"{folder}: cannot be used ({error.strerror}); choose another folder with --to") from None
    try:
        only_writer(lock, folder)
        yield
    finally:
        os.close(lock)


def _missing(owner: DataSet, file: File, sources: Sources, tell: Tell) -> dict[str, str | None]:
    """Those places of a file that are not there; what is there is right."""
    found = [place for place in file.places if (sources.folder / place).is_file()]
    wrong = []
    for place in found:
        if (sources.folder / place).stat().st_size > LARGE:
            tell(f"{sources.folder / place}: is compared with its checksum")
        if place not in sources.files:  # laid here by hand
            checksum = sha256(sources.folder / place)
            if not file.packed and file.sha256 not in (None, checksum):
                wrong.append(f"{sources.folder / place}: has the sha256 {checksum}, expected {file.sha256}")
                continue
            sources.record(place, checksum, set=owner.name, address="was there", licence=owner.licence)
        elif differs := sources.changed(place):
            wrong.append(f"{sources.folder / place}: {differs}: changed or damaged")
    if wrong:
        raise _Lost([f"{line}; delete it, and the same command fetches it anew" for line in wrong])
    return {place: name for place, name in file.places.items() if place not in found}


def _bring(
    owner: DataSet, file: File, sources: Sources, by_hand: Path | None, tell: Tell, watch: Watch
) -> Iterable[str]:
    """Fetches a file from the first address that gives it, or takes it from a folder; the places that were written."""
    if by_hand is not None:
        return _take(owner, file, sources, by_hand)
    part = sources.folder / f"{file.name}.part"
    reasons = []
    for address in file.addresses:
        try:
            tell(f"{file.name} from {address.url}")
            archive = _fetch(address, file, part, watch(file.name))
            return _put(owner, file, sources, part, address.url, archive)
        except (GivenUp, Damaged) as fault:
            told = "".join(letter if letter.isprintable() else "?" for letter in str(fault))  # a server's words
            reasons.append(f"{address.url} {told}")
            tell(f"  {told}")
    raise _Lost(reasons or ["no address is known"])


def _fetch(address: Address, file: File, part: Path, show: Show) -> str:
    """The whole file as `part`; its sha256."""

    def attempt() -> str:
        transfer(address.url, part, size=file.size, known=file.sha256 is not None, show=show)
        try:
            return _verified(part, file)
        except Damaged:
            discard(part)
            raise

    resumed = part.exists()
    try:
        return attempt()
    except Damaged:
        if not resumed:
            raise
    return attempt()  # a part of another version may be to blame: once more, from the start


def _verified(path: Path, file: File) -> str:
    """The sha256 of a fetched file."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise Damaged(f"gave {size:,} bytes, expected {file.size:,}")
    found = sha256(path)
    if file.sha256 is not None and found != file.sha256:
        raise Damaged(f"gave a file with the sha256 {found}, expected {file.sha256}: damaged, or another version")
    return found


def _put(owner: DataSet, file: File, sources: Sources, part: Path, address: str, checksum: str) -> Iterable[str]:
    """A verified part under the names of what is in it."""
    if file.packed:
        try:
            written = unpack(part, file.places, sources.folder)
        except Damaged:
            discard(part)
            raise
        _remember(owner, file, sources, written, address, part, checksum)
    else:
        (place,) = file.places
        target = sources.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        written = {place: checksum}
        _remember(owner, file, sources, written, address)
    discard(part)
    return written


def _take(owner: DataSet, file: File, sources: Sources, by_hand: Path) -> Iterable[str]:
    """A file from a folder of files fetched by hand: packed as it is published, or already unpacked."""
    packed = by_hand / file.name
    try:
        if packed.is_file() and file.packed:
            checksum = _verified(packed, file)
            written = unpack(packed, file.places, sources.folder)
            _remember(owner, file, sources, written, str(packed), packed, checksum)
            return written
        found = {place: _unpacked(by_hand, place, name or file.name) for place, name in file.places.items()}
        lacks = [PurePosixPath(place).name for place, path in found.items() if path is None]
        if lacks:
            raise _Lost([f"{by_hand} has no {' and no '.join(dict.fromkeys([file.name, *lacks]))}"])
        for path in found.values():
            if path is not None and not file.packed:
                _verified(path, file)
        written = {place: copy(path, sources.folder / place) for place, path in found.items() if path is not None}
    except Damaged as fault:
        raise _Lost([f"{by_hand}: {file.name} {fault}"]) from None
    _remember(owner, file, sources, written, str(by_hand))
    return written


def _remember(
    owner: DataSet,
    file: File,
    sources: Sources,
    written: Mapping[str, str],
    address: str,
    archive: Path | None = None,
    checksum: str | None = None,
) -> None:
    """Into SOURCES.json; archive and checksum: of what the files were packed in."""
    packed = archive and {"name": file.name, "size": archive.stat().st_size, "sha256": checksum}
    for place, found in written.items():
        sources.record(place, found, set=owner.name, address=address, licence=owner.licence, archive=packed)


def _unpacked(by_hand: Path, place: str, name: str) -> Path | None:
    """What a file becomes, where it was unpacked by hand."""
    candidates = [by_hand / place, by_hand / PurePosixPath(place).name, by_hand / name]
    return next((path for path in candidates if path.is_file()), None)
