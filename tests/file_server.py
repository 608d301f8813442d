"""A real HTTP server on this machine, for tests of fetching: it knows ranges, and misbehaves where it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """content: path -> bytes. asked: `(path, Range)` of every request, in order.

    Faults, by path: cut: bytes after which the connection ends, one for each request; moved: where the path redirects
    to; broken: answers with this status; plain: knows no Range; silent: tells neither length nor version; page: says
    that it is a web page; ends: says so many bytes more than it has; held: sends one half, and the other half after the
    event.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    page: set[str] = field(default_factory=set)
    ends: dict[str, int] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    version: str = '"1"'
    url: str = ""


def handler(files: Files) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path = self.path
            files.asked.append((path, self.headers.get("Range", "")))
            self.close_connection = True
            if path in files.moved:
                self.head(302, {"Location": files.moved[path], "Content-Length": "0"})
            elif path in files.broken or path not in files.content:
                self.head(files.broken.get(path, 404), {"Content-Length": "0"})
            else:
                self.give(path, files.content[path])

        def head(self, status: int, headers: dict[str, str]):
            self.send_response(status)
            for name, value in {**headers, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()

        def give(self, path: str, body: bytes):
            start, status, headers = 0, 200, {}
            asked, only_if = self.headers.get("Range"), self.headers.get("If-Range")
            if asked and path not in files.plain and only_if in (None, files.version):
                start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(body):
                    self.head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                    return
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            if path not in files.silent:
                headers |= {"ETag": files.version, "Content-Length": str(len(body) - start + files.ends.get(path, 0))}
            headers["Content-Type"] = "text/html" if path in files.page else "application/zip"
            self.head(status, headers)
            if path in files.held:
                self.wfile.write(body[start : len(body) // 2])
                files.held[path].wait(60)
                start = max(start, len(body) // 2)
            cuts = files.cut.get(path)
            self.wfile.write(body[start : start + cuts.pop(0)] if cuts else body[start:])

    return Handler


@contextmanager
def serving() -> Iterator[Files]:
    files = Files()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(files))
    files.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
