"""One file over HTTP, so that nothing that came over the line is fetched twice.

Content goes into `NAME.part`; a note beside it tells the address, the server's mark of this version (ETag or
Last-Modified) and the length. A later call asks for the rest (Range) of that very version (If-Range). A server that
does not know Range sends everything again.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from limner import __version__
from limner.errors import UserError
from limner.files import write_json

TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5  # in a row without a new byte, before the next address
WAIT = 1.0  # seconds before the second attempt; doubled each time
CHUNK = 1 << 18
Show = Callable[[int, int | None], None]  # (bytes there, bytes in all)


class GivenUp(Exception):
    """An address does not give the file; says why."""


class _TryAgain(Exception):
    """A fault that may be gone in a moment."""


class _Redirects(HTTPRedirectHandler):
    """Follows to the web only, and from https only to https."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise GivenUp(f"sends on to {newurl}, which is not {before}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, part: Path, *, size: int | None = None, known: bool = False, show: Show | None = None) -> None:
    """Fetches `url` into `part`, or the rest of it.

    Args:
        url: http or https.
        part: the file to fill. What is there of the same version stays.
        size: bytes that the whole file must have; None: what the server says.
        known: the content will be compared with a checksum, so what is there may come from another address.
        show: called now and then.

    Raises:
        GivenUp: the address does not give the whole file; what came is kept.
        UserError: the disk is full or cannot be written; what came is kept.
    """
    failed, furthest = 0, _length(part)
    while True:
        try:
            _receive(url, part, size, known, show or (lambda done, total: None))
            return
        except _TryAgain as fault:
            failed = 1 if _length(part) > furthest else failed + 1
            furthest = max(furthest, _length(part))  # a server that begins again and again gets nowhere
            if failed >= ATTEMPTS:
                raise GivenUp(f"{fault} ({failed} times)") from None
            time.sleep(WAIT * 2 ** (failed - 1))


def discard(part: Path) -> None:
    """Removes a part and its note."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _receive(url: str, part: Path, size: int | None, known: bool, show: Show) -> None:
    """One request: everything, or what is missing."""
    note = _read_note(part)
    same = note.get("url") == url
    have = _length(part) if known or (same and note.get("version")) else 0
    whole = size if size is not None else note.get("total") if same else None
    if have and have == whole:
        return  # stopped between the last byte and the check
    headers = {"User-Agent": f"limner/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if same and note.get("version"):
            headers["If-Range"] = note["version"]
    opened = _opened(Request(url, headers=headers), part, have if known else None)
    if opened is None:
        return
    with opened as answer:
        start, total = _span(answer, have, part)
        if "text/html" in answer.headers.get("Content-Type", ""):  # a login, a virus warning, a page of errors
            raise GivenUp("answers with a web page, not with the file")
        if size is not None and total is not None and total != size:
            raise GivenUp(f"has {total:,} bytes, expected {size:,}")
        _room(part, (total or size or 0) - start)
        tag = answer.headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
        write_json(_note(part), {"url": url, "version": version, "total": total})
        _copy(answer, part, start, total if total is not None else size, show)


def _read_note(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_note(part).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _opened(request: Request, part: Path, all_of: int | None) -> HTTPResponse | None:
    """The answer, or what kind of fault it is; None when a file of `all_of` bytes is the whole one."""
    try:
        return build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # there is nothing behind what is here
            if error.headers.get("Content-Range", "") == f"bytes */{all_of}":
                return None
            discard(part)
            raise _TryAgain("the file there has become another one") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _TryAgain(f"answers {error.code} {error.reason}") from None
        raise GivenUp(f"answers {error.code} {error.reason}") from None
    except URLError as error:
        if isinstance(error.reason, (socket.gaierror, ConnectionRefusedError, ssl.SSLError)):
            raise GivenUp(f"cannot be reached: {error.reason}") from None
        raise _TryAgain(f"cannot be reached: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise _TryAgain(f"cannot be reached: {error or type(error).__name__}") from None
    except ValueError as error:  # an address with spaces in it, a redirect to nonsense
        raise GivenUp(f"is no address: {error}") from None


def _span(answer: HTTPResponse, have: int, part: Path) -> tuple[int, int | None]:
    """`(first byte, bytes in all)` of an answer; None when the server does not tell."""
    length = answer.headers.get("Content-Length", "")
    if answer.status != 206:
        return 0, int(length) if length.isdigit() else None
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if told is None or int(told[1]) != have:
        discard(part)
        raise _TryAgain("answers with another part than the one asked for")
    return have, None if told[2] == "*" else int(told[2])


def _room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise full(part, f"{needed:,} bytes are still to come, {free:,} are free")


def full(path: Path, found: str) -> UserError:
    """The one wording for a disk without room."""
    return UserError(f"{path}: the disk has no room: {found}; free space, or choose another folder with --to; "
                     "what came is kept, the same command goes on")  # fmt: skip


def _copy(answer: HTTPResponse, part: Path, start: int, total: int | None, show: Show) -> None:
    """Appends what comes behind the byte `start`."""
    with open(part, "r+b" if part.exists() else "w+b", buffering=0) as file:  # unbuffered: what came is on the file
        file.truncate(start)
        file.seek(start)
        done = start
        while True:
            try:
                chunk = answer.read1(CHUNK)
            except (OSError, HTTPException) as error:
                raise _TryAgain(f"breaks off after {done:,} bytes: {error or type(error).__name__}") from None
            if not chunk:
                break
            _write(file, chunk, part)
            done += len(chunk)
            show(done, total)
        if total is not None and done != total:
            raise _TryAgain(f"breaks off after {done:,} of {total:,} bytes")
        os.fsync(file.fileno())


def _write(file: Any, chunk: bytes, part: Path) -> None:
    try:
        left = memoryview(chunk)
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(part, f"it ended at {file.tell():,} bytes") from None
        raise UserError(f"{part}: cannot be written ({error.strerror}); choose another folder with --to") from None
