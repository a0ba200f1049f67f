"""A web server on this machine that serves one file, as well or as badly as a test wants."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class WeightsServer:
    """What is served, and what was asked for.

    Args:
        content: of the file.
        ranges: whether parts are given.
        etag: of the file; None: none is sent.
        honours_if_range: whether a part is given only of the version that was asked for.
        statuses: answers to the first requests; 200 afterwards.
        cuts: bytes after which the connections of the first requests break; None: it holds.
        kind: Content-Type.
        states_length: whether Content-Length is sent.
        headers: further ones.
        requests: path and headers of each request.
    """

    content: bytes = b""
    ranges: bool = True
    etag: str | None = '"v1"'
    honours_if_range: bool = True
    statuses: list[int] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    kind: str = "application/octet-stream"
    states_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def starts(self) -> list[int]:
        """The byte at which each request wanted to begin."""
        ranges = [headers.get("Range", "bytes=0-") for _, headers in self.requests]
        return [int(re.fullmatch(r"bytes=(\d+)-", word)[1]) for word in ranges]  # type: ignore[index]


class _Handler(BaseHTTPRequestHandler):
    served: WeightsServer

    def do_GET(self) -> None:
        served = self.served
        served.requests.append((self.path, dict(self.headers)))
        status = served.statuses.pop(0) if served.statuses else 200
        start = self._start() if status == 200 else 0
        body = served.content[start:]
        self.send_response(206 if start else status)
        self.send_header("Content-Type", served.kind)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}"
            )
        if served.states_length:
            self.send_header("Content-Length", str(len(body)))
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = served.cuts.pop(0) if served.cuts else None
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True

    def _start(self) -> int:
        served, byte_range = self.served, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if byte_range is None or not served.ranges:
            return 0
        other = self.headers.get("If-Range") not in (None, served.etag)
        return 0 if other and served.honours_if_range else int(byte_range[1])

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is its own."""


@contextmanager
def serving() -> Iterator[WeightsServer]:
    """A server for the duration of a test."""
    served = WeightsServer()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
