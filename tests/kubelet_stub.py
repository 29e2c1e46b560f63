"""A kubelet for tests: a Node of the API server behind which a small HTTPS server has the containers' logs.

    def test_x(apiserver, namespace, kubelet):
        log = kubelet.log(namespace, "pod", "container")   # from now on `pods/log` finds it
        log.write("epoch 1\\n")                             # who follows gets it at once
        log.end()                                          # the container ended: who follows is let go
        log.cut()                                          # this connection breaks: who follows sees a clean end, too
        kubelet.forward(namespace, "pod", 8265, to=port)   # port-forwards to the pod's 8265 reach 127.0.0.1:port

A pod must have `spec.nodeName: kubelet.node` for its requests to come here (cluster_hands.py makes such). Before
log() a container answers 400 "is waiting to start", as a real one does.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import kubelet_portforward
import pytest
from apiserver import ApiServer


@dataclass
class ContainerLog:
    """The lines that one container has written, each with its time; `over` is set when nothing more will come."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    lines: list[tuple[datetime, str]] = field(default_factory=list)
    over: str = ""
    readers: int = 0

    def write(self, text: str, at: datetime | None = None) -> None:
        """Append whole lines; `at` is when they were written, now if not given."""
        with self.changed:
            self.lines += [(at or datetime.now(UTC), line) for line in text.splitlines(keepends=True)]
            self.changed.notify_all()

    def end(self) -> None:
        self._over("ended")

    def cut(self) -> None:
        self._over("cut")

    def wait_for_reader(self, timeout: float = 30) -> None:
        """Return as soon as somebody follows it."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.readers > 0, timeout), "nobody follows this log"

    def _over(self, how: str) -> None:
        with self.changed:
            self.over = how
            self.changed.notify_all()

    def next_lines(self, position: int) -> tuple[list[tuple[datetime, str]], str]:
        """What follows line `position`, waiting until there is something; nothing more to come is an empty list."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.lines) > position or self.over)
            return self.lines[position:], self.over


@dataclass
class Kubelet:
    """The stub and the name of its Node. `asked` lists the log requests it got, path and query."""

    node: str
    folder: Path
    logs: dict[tuple[str, str, str, bool], ContainerLog] = field(default_factory=dict)
    forwards: dict[tuple[str, str, int], int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def log(self, namespace: str, pod: str, container: str, previous: bool = False) -> ContainerLog:
        """That container's log, made at the first call. previous: of its run before the last restart."""
        return self.logs.setdefault((namespace, pod, container, previous), ContainerLog())

    def forward(self, namespace: str, pod: str, port: int, to: int) -> None:
        self.forwards[namespace, pod, port] = to

    @cached_property
    def http(self) -> ThreadingHTTPServer:
        kubelet = self
        handler = type("Handler", (_Handler,), {"kubelet": kubelet})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._certificate())
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return server

    def _certificate(self) -> tuple[Path, Path]:
        """Self-signed: the API server does not check a kubelet's unless told to."""
        certificate, key = self.folder / "kubelet.crt", self.folder / "kubelet.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=kubelet-stub", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        return certificate, key


class _Handler(BaseHTTPRequestHandler):
    kubelet: Kubelet
    protocol_version = "HTTP/1.1"
    rbufsize = 0  # a WebSocket reads on from the socket itself

    def log_message(self, *arguments: object) -> None:
        """A request is no news to a test."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        match url.path.strip("/").split("/"):
            case ["containerLogs", namespace, pod, container]:
                self.kubelet.asked.append(self.path)
                self._log(namespace, pod, container, query)
            case ["portForward", namespace, pod]:
                self._forward(namespace, pod, [int(port) for port in query["port"].split(",")])
            case _:
                self._refuse(404, f"this kubelet has no {url.path}")

    def do_POST(self) -> None:
        self._refuse(400, "this kubelet has no SPDY; port-forwards work through a WebSocket, as the Python client's do")

    def _log(self, namespace: str, pod: str, container: str, query: dict[str, str]) -> None:
        log = self.kubelet.logs.get((namespace, pod, container, query.get("previous") == "true"))
        if log is None:
            waiting = f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating'
            return self._refuse(400, waiting)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        follow = query.get("follow") == "true"
        if follow:
            with log.changed:
                log.readers += 1
                log.changed.notify_all()
        try:
            self._send_lines(log, follow, query)
        except OSError:  # the reader went away
            self.close_connection = True
        finally:
            with log.changed:
                log.readers -= follow
        return None

    def _send_lines(self, log: ContainerLog, follow: bool, query: dict[str, str]) -> None:
        since, timestamps, position = _since(query), query.get("timestamps") == "true", 0
        with log.changed:
            there = list(log.lines)
        if "tailLines" in query:
            position = max(0, len(there) - int(query["tailLines"]))
        while True:
            lines, over = log.next_lines(position) if follow else (there[position:], "ended")
            position += len(lines)
            text = "".join(f"{_stamp(at)} {line}" if timestamps else line for at, line in lines if at >= since)
            if text:
                data = text.encode(errors="surrogateescape")  # any bytes: what a container prints
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            if over == "cut":
                self.close_connection = True
                return
            if over and (not follow or not lines):
                self.wfile.write(b"0\r\n\r\n")
                return

    def _forward(self, namespace: str, pod: str, ports: list[int]) -> None:
        spoken = [name.strip() for name in self.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if kubelet_portforward.PROTOCOL not in spoken:
            return self._refuse(400, f"expected a WebSocket that speaks {kubelet_portforward.PROTOCOL}, not {spoken}")
        self.send_response(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", kubelet_portforward.accept_key(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", kubelet_portforward.PROTOCOL)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # one side went away
            kubelet_portforward.serve(
                self.connection, ports, lambda port: self.kubelet.forwards.get((namespace, pod, port))
            )
        return None

    def _refuse(self, status: int, message: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(message.encode())))
        self.end_headers()
        self.wfile.write(message.encode())


def _since(query: dict[str, str]) -> datetime:
    if "sinceTime" in query:
        return datetime.fromisoformat(query["sinceTime"])
    return datetime.fromtimestamp(time.time() - float(query.get("sinceSeconds", "1e9")), UTC)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@pytest.fixture
def kubelet(apiserver: ApiServer, namespace: str, tmp_path: Path) -> Iterator[Kubelet]:
    """A kubelet with a Node of its own: 8 CPUs, 32 GiB and no GPU, until a test sets the Node's status otherwise."""
    stub = Kubelet(f"node-{secrets.token_hex(4)}", tmp_path)
    thread = threading.Thread(target=stub.http.serve_forever, daemon=True)
    thread.start()
    apiserver.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": stub.node}})
    resources = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": stub.http.server_port}},
        "capacity": resources,
        "allocatable": resources,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }
    apiserver.set_status("nodes", None, stub.node, status)
    yield stub
    for log in stub.logs.values():
        log.end()
    stub.http.shutdown()
    stub.http.server_close()
    apiserver.start()
    apiserver.delete("nodes", None, stub.node)
