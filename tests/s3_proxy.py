"""A proxy before a real S3 server that does what networks and bad servers do: lose answers, garble what is read."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class S3Proxy(ThreadingHTTPServer):
    """Forwards each request as it came, its signed Host header too, and keeps a list of their methods.

    lose_answers_to_puts: how many PUTs reach the server, but their answers not the client.
    break_off_reads: how many GETs end in the middle of the object.
    framing: what a GET returns before the object's bytes.
    before_put: called before each PUT is forwarded.
    """

    daemon_threads = True

    def __init__(
        self,
        endpoint: str,
        *,
        lose_answers_to_puts: int = 0,
        break_off_reads: int = 0,
        framing: bytes = b"",
        before_put: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.upstream = urlsplit(endpoint).netloc
        self.answers_to_lose = lose_answers_to_puts
        self.reads_to_break_off = break_off_reads
        self.framing = framing
        self.before_put = before_put
        self.requests: list[str] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def takes_one(self, counter: str) -> bool:
        with self.lock:
            left: int = getattr(self, counter)
            setattr(self, counter, max(0, left - 1))
        return left > 0


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy

    def _forward(self) -> None:
        if self.command == "PUT":
            self.server.before_put()
        answer, content = self._ask_server()
        if self.command == "PUT" and self.server.takes_one("answers_to_lose"):
            self.close_connection = True  # the server has it, and the client will never know
            return
        is_object = self.command == "GET" and answer.status in (200, 206)
        if is_object:
            content = self.server.framing + content
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if is_object and self.server.takes_one("reads_to_break_off"):
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _ask_server(self) -> tuple[http.client.HTTPResponse, bytes]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        with closing(http.client.HTTPConnection(self.server.upstream, timeout=20)) as upstream:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        with self.server.lock:
            self.server.requests.append(self.command)
        return answer, content

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def proxy(endpoint: str, **misbehaviour: Any) -> Iterator[S3Proxy]:
    """Run an S3Proxy until the block ends."""
    with S3Proxy(endpoint, **misbehaviour) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
