"""The kubelet's end of a port-forward over a WebSocket (protocol v4.channel.k8s.io), as the Python client asks for it.

Each port has two channels, data (2n) and error (2n + 1); on both the kubelet first sends the port's number, two bytes,
little-endian (k8s.io/kubelet portforward/websocket.go). `kubectl port-forward` speaks SPDY, which is not here.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import ssl
from collections.abc import Callable

PROTOCOL = "v4.channel.k8s.io"
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


def accept_key(key: str) -> str:
    """What the server's handshake answers to the client's key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()  # noqa: S324


def serve(connection: ssl.SSLSocket, ports: list[int], backend: Callable[[int], int | None]) -> None:
    """Carry bytes until either side closes. `backend`: the loopback port behind a pod's port, None if there is none."""
    sockets: dict[int, socket.socket] = {}
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            connection.sendall(frame(bytes([channel]) + port.to_bytes(2, "little")))
        local = backend(port)
        if local is None:
            refusal = f"an error occurred forwarding {port}: dial tcp4 127.0.0.1:{port}: connect: connection refused"
            connection.sendall(frame(bytes([2 * index + 1]) + refusal.encode()))
        else:
            sockets[2 * index] = socket.create_connection(("127.0.0.1", local))
    try:
        _carry(connection, sockets)
    finally:
        for backend_socket in sockets.values():
            backend_socket.close()


def _carry(connection: ssl.SSLSocket, sockets: dict[int, socket.socket]) -> None:
    received = b""
    while True:
        readable = [connection] if connection.pending() else select.select([connection, *sockets.values()], [], [])[0]
        for channel, backend in sockets.items():
            if backend in readable:
                data = backend.recv(65536)
                connection.sendall(frame(bytes([channel]) + data) if data else frame(b"", CLOSE))
                if not data:
                    return
        if connection in readable:
            data = connection.recv(65536)
            received, goes_on = _answer(connection, received + data, sockets)
            if not (data and goes_on):
                return


def _answer(connection: ssl.SSLSocket, received: bytes, sockets: dict[int, socket.socket]) -> tuple[bytes, bool]:
    """Hand on the whole frames in `received`. Returns the rest, and False after a close."""
    while (parsed := _parse(received)) is not None:
        opcode, payload, received = parsed
        if opcode == CLOSE:
            return received, False
        if opcode == PING:
            connection.sendall(frame(payload, PONG))
        elif payload[:1] and payload[0] in sockets:
            sockets[payload[0]].sendall(payload[1:])
    return received, True


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """A whole, unmasked message, as a server sends it (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    if size < 1 << 16:
        return bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big") + payload


def _parse(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(opcode, payload, the rest) of the first frame; None while it is not there whole."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size >= 126:
        width = 2 if size == 126 else 8
        size, start = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
    mask = data[start : start + 4] if data[1] & 0x80 else b""
    start += len(mask)
    if len(data) < start + size or (data[1] & 0x80 and len(mask) < 4):
        return None
    payload = data[start : start + size]
    if mask:
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return data[0] & 0x0F, payload, data[start + size :]
