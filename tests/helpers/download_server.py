"""A real HTTP server on this machine whose answers are as wrong as a test asks for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHANGED = "Mon, 01 Jan 2018 00:00:00 GMT"


@dataclass
class Served:
    """One file of the server.

    Attributes:
        content: its bytes.
        etag: as in the header; empty for none.
        changed: date of its last change; empty for none.
        faults: what is answered instead to the next requests, one after another.
        headers: more of them.
        piece: bytes that are sent at once; None for all.
        pause: called between two pieces.
    """

    content: bytes
    etag: str = '"one"'
    changed: str = CHANGED
    faults: deque[Callable[[Handler, Served], None]] = field(default_factory=deque)
    headers: dict[str, str] = field(default_factory=dict)
    piece: int | None = None
    pause: Callable[[], object] = lambda: None


class Handler(BaseHTTPRequestHandler):
    """Answers as RFC 9110 asks, unless a fault is next."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with the file, or with what a fault makes of it."""
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers))
        served = self.server.files.get(path)
        with suppress(OSError):  # the client has gone
            if served is None:
                self.answer(404, b"nothing here", {"Content-Type": "text/plain"})
            elif served.faults:
                served.faults.popleft()(self, served)
            else:
                self.serve(served)

    def serve(self, served: Served) -> None:
        """Answer as a good server does."""
        wanted = self.headers.get("Range", "")
        current = self.headers.get("If-Range") in {None, served.etag or served.changed}
        total = len(served.content)
        if wanted and current:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                self.answer(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            span = {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
            self.answer(206, served.content[start:], span | self.of(served), served)
        else:
            self.answer(200, served.content, self.of(served), served)

    def of(self, served: Served) -> dict[str, str]:
        """Return the headers of a file."""
        known = {"ETag": served.etag, "Last-Modified": served.changed, "Content-Type": "application/octet-stream"}
        return {name: value for name, value in (known | served.headers).items() if value}

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        served: Served | None = None,
        length: int | None = None,
    ) -> None:
        """Send an answer; ``length`` is what it says of its size, where that is not true, -1 for nothing."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        step = (served.piece if served else None) or len(body) or 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            if served:
                served.pause()


class Server(ThreadingHTTPServer):
    """The files by their paths, and what was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, Message]] = []

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that were killed."""

    @property
    def address(self) -> str:
        """Address of its root, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, content: bytes, **options: Any) -> Served:
        """Serve a file, and return it."""
        self.files[path] = Served(content, **options)
        return self.files[path]

    def ranges(self, path: str) -> list[str]:
        """Return the ranges that were asked for of one file; empty texts for the whole."""
        return [headers.get("Range", "") for asked, headers in self.asked if asked == path]


@contextmanager
def running() -> Iterator[Server]:
    """Run a server for the block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
