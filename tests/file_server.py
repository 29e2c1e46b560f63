"""A local web server for the tests of downloads, that can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """files: path -> content; break_after: bytes of the body after which the next connections are cut, one entry each;
    ranges: whether Range is heard; length: the Content-Length to tell instead; etags: path -> its ETag; status: to
    answer instead. ranges_asked: the Range headers that came, "" where there was none."""

    files: dict[str, bytes]
    break_after: list[int] = field(default_factory=list)
    ranges: bool = True
    length: int | None = None
    etags: dict[str, str] = field(default_factory=dict)
    status: int = 0
    ranges_asked: list[str] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The server's address, without a final slash."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            behaviour.ranges_asked.append(asked)
            if behaviour.status or self.path not in behaviour.files:
                self.send_error(behaviour.status or 404)
                return
            data, etag = behaviour.files[self.path], behaviour.etags.get(self.path, "")
            if self.headers.get("If-Range", etag) != etag:
                asked = ""
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and behaviour.ranges else 0
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            length = len(data) - start if behaviour.length is None else behaviour.length
            self.send_header("Content-Length", str(length))
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            most = behaviour.break_after.pop(0) if behaviour.break_after else len(data)
            self.wfile.write(data[start : start + most])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
