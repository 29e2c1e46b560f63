"""A port of a pod on 127.0.0.1: each connection is carried over a WebSocket through the API server.

Protocol v4.channel.k8s.io with one port: channel 0 carries the data and channel 1 an error; the first message of each
holds the port's number (Kubernetes: pkg/kubelet/cri/streaming/portforward/websocket.go). The client library's own
`portforward` prints tracebacks from a thread of its own where a connection breaks; here whoever connected is told.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from visionjobs.cluster.client import Cluster
from visionjobs.errors import UserError, VisionjobsError

if TYPE_CHECKING:
    from websocket import WebSocket

PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
CHUNK = 64 * 1024


class PortForward:
    """Listens as long as the `with` block lasts. pod: where new connections go, may be changed; None: nowhere now.

    port: the local one, one that is free where 0 was asked for.
    """

    def __init__(self, cluster: Cluster, pod: str | None, pod_port: int, port: int = 0) -> None:
        self.pod = pod
        self._cluster, self._pod_port = cluster, pod_port
        self._listener = listen(port)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> PortForward:
        threading.Thread(target=self._accept, name="port-forward", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(local,), name="port-forwarded", daemon=True).start()

    def _serve(self, local: socket.socket) -> None:
        with closing(local), suppress(OSError):  # whoever connected went away
            try:
                remote = self._open()
                with closing(remote):
                    _carry(local, remote)
            except VisionjobsError as error:
                _answer(local, str(error))

    def _open(self) -> WebSocket:
        """A connection to the pod's port. Raises VisionjobsError where there is none."""
        from kubernetes.stream.ws_client import create_websocket, get_websocket_url
        from websocket import WebSocketBadStatusException, WebSocketException

        pod, api = self.pod, self._cluster.api
        if pod is None:
            raise VisionjobsError("the pod is gone; the next one has not started yet")
        path = f"/api/v1/namespaces/{self._cluster.namespace}/pods/{pod}/portforward"
        headers = {"sec-websocket-protocol": PROTOCOL}
        _, url, headers, *_ = api.param_serialize("GET", path, [], [("ports", str(self._pod_port))], headers,
                                                  auth_settings=["BearerToken"])  # fmt: skip
        try:
            remote: WebSocket = create_websocket(api.configuration, get_websocket_url(url), headers)
        except WebSocketBadStatusException as error:
            raise VisionjobsError(f"the cluster refuses the port-forward to {pod} ({error.status_code})") from error
        except (WebSocketException, OSError) as error:
            raise VisionjobsError(f"the cluster does not answer ({type(error).__name__})") from error
        return remote


def listen(port: int) -> socket.socket:
    """A listener on 127.0.0.1. Raises UserError where the port is taken or may not be used."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--port {port}: cannot listen there ({error}); give another, or none for a free one"
        ) from error


def _carry(local: socket.socket, remote: Any) -> None:
    """Bytes both ways until either side ends. Raises VisionjobsError where the pod refused before any came back."""
    from websocket import ABNF, WebSocketException

    channels = _Channels()
    try:
        while True:
            decrypted = hasattr(remote.sock, "pending") and remote.sock.pending()  # select() does not see it
            readable = [remote.sock] if decrypted else select.select([local, remote.sock], [], [])[0]
            if local in readable:
                data = local.recv(CHUNK)
                if not data:
                    return
                remote.send_binary(bytes([DATA]) + data)
            if remote.sock in readable:
                code, frame = remote.recv_data_frame(True)
                if code == ABNF.OPCODE_CLOSE:
                    return
                if code == ABNF.OPCODE_BINARY and frame.data:
                    local.sendall(channels.take(frame.data[0], frame.data[1:]))
    except WebSocketException as error:
        if not channels.carried:
            raise VisionjobsError(f"the connection to the pod broke off ({type(error).__name__})") from error


class _Channels:
    """What the pod's side sends. carried: whether any of its data has come."""

    def __init__(self) -> None:
        self.carried = False
        self._begun: set[int] = set()

    def take(self, channel: int, data: bytes) -> bytes:
        """The data in a message. Raises VisionjobsError for an error that comes before any data."""
        if channel not in self._begun:  # it holds the port's number
            self._begun.add(channel)
            return b""
        if channel == ERROR:
            if self.carried:
                return b""  # the end follows
            raise VisionjobsError(data.decode(errors="replace"))
        self.carried = True
        return data


def _answer(local: socket.socket, text: str) -> None:
    """Tell a browser why there is nothing."""
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    local.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
    local.shutdown(socket.SHUT_WR)
    local.settimeout(1.0)
    while local.recv(CHUNK):  # closing with a request unread would reset the connection
        pass
