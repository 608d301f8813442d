"""Files taken out of a fetched archive: only those that are named, each whole or not there.

An archive is outside input. A member goes where the table says, not where the archive says; names that lead out of the
folder, links, secret members and sizes that no honest archive has are refused.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from limner.errors import UserError, listing
from limner.fetch.transfer import full
from limner.files import whole

RATIO = 200  # times its packed size: annotations shrink to a seventeenth, the best ones to a thirtieth
SMALL = 1 << 20  # bytes to which the ratio does not apply
CHUNK = 1 << 20


class Damaged(Exception):
    """A file is not what it should be; says why."""


def unpack(archive: Path, places: dict[str, str | None], folder: Path) -> dict[str, str]:
    """Takes members out of a zip file; returns the sha256 of each file by its place.

    Args:
        archive: the zip file.
        places: path in `folder` -> name of the member. A path in front of the name, in the archive, does not matter.
        folder: where to.

    Raises:
        Damaged: the archive is broken, is no honest one, or does not hold a member.
        UserError: there is no room.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened)
            chosen = {place: _one(members, str(name)) for place, name in places.items()}
            needed = sum(member.file_size for member in chosen.values())
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise full(folder, f"{needed:,} bytes are packed in {archive.name}, {free:,} are free")
            return {place: _take_out(opened, member, folder / place) for place, member in chosen.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Damaged(f"is no whole zip file: {error}") from None


def copy(source: Path, target: Path) -> str:
    """A file as a whole one beside others; returns its sha256."""
    with open(source, "rb") as stream:
        return _write(stream, target)


def sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()  # Python 3.10 has no file_digest
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _members(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    for member in opened.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member.filename):
            raise Damaged(f"holds the path {member.filename!r}, which leads out of the folder: it is refused")
    return [member for member in opened.infolist() if not member.is_dir()]


def _one(members: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    """The member of a name."""
    found = [member for member in members if PurePosixPath(member.filename).name == name]
    if len(found) != 1:
        has = listing(member.filename for member in members) or "nothing"
        raise Damaged(f"holds {len(found)} files {name}, expected one; it has {has}")
    member = found[0]
    if stat.S_ISLNK(member.external_attr >> 16):
        raise Damaged(f"holds {name} as a link: it is refused")
    if member.flag_bits & 1:
        raise Damaged(f"holds {name} behind a password")
    if member.file_size > SMALL + RATIO * member.compress_size:
        sizes = f"{member.file_size:,} bytes from {member.compress_size:,}"
        raise Damaged(f"would unpack {name} to {sizes}, which no honest archive does: it is refused")
    return member


def _take_out(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    with opened.open(member) as stream:  # gives no more than file_size, and compares the checksum at the end
        return _write(stream, target)


def _write(stream: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with whole(target, sync=True) as part, open(part, "wb") as file:
            while block := stream.read(CHUNK):
                digest.update(block)
                file.write(block)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(target, "it ended while the file was written") from None
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); choose another --to") from None
    return digest.hexdigest()
