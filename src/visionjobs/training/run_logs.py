"""The logs of an attempt on a cluster, kept in its folder: pods, and what Kubernetes knows of them, go away.

attempts/<n>/logs/driver.log            what the driver printed, stored every 15 seconds while it runs
attempts/<n>/logs/ray/<node>/<file>     the end of each of Ray's session logs, stored when the attempt ends
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from visionjobs.errors import VisionjobsError
from visionjobs.runs import Attempt

STORE_SECONDS = 15.0

LAST_SECONDS = 2.0
"""How long the last output of a child process that lives on is waited for."""

MOST_BYTES = 8 * 2**20
"""Stored of the driver's output: the beginning is cut off where there is more."""

TAIL_LINES = 5000
"""Stored of each of Ray's logs."""

STDOUT, STDERR = 1, 2

log = logging.getLogger(__name__)


class DriverLog:
    """Copies what this process prints (both streams, child processes too) and stores it, once the attempt is known."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="driver-log-")  # noqa: SIM115 (closed by `close`)
        self._attempt: Attempt | None = None
        self._stored = 0
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._originals: dict[int, int] = {}
        self._storer = threading.Thread(target=self._keep_storing, name="driver-log-store", daemon=True)
        self._copiers = [self._tap(stream) for stream in (STDOUT, STDERR)]
        for thread in (self._storer, *self._copiers):
            thread.start()

    def belongs_to(self, attempt: Attempt) -> None:
        """From now on it is stored, with `attempt`."""
        self._attempt = attempt

    def close(self) -> None:
        """Give the streams back, and store the rest. A storage that does not answer costs a warning."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for stream, original in self._originals.items():
            os.dup2(original, stream)  # the last end of the pipe, unless a child process lives on
        self._ended.set()
        self._storer.join()
        deadline = time.monotonic() + LAST_SECONDS
        for copier in self._copiers:
            copier.join(max(0.0, deadline - time.monotonic()))
        self._store()
        if not any(copier.is_alive() for copier in self._copiers):  # else a child still prints, and is still shown
            for original in self._originals.values():
                os.close(original)
            self._file.close()

    def _tap(self, stream: int) -> threading.Thread:
        """Lead what is written to `stream` through a pipe; returns what copies it."""
        original = os.dup(stream)
        read, write = os.pipe()
        os.dup2(write, stream)
        os.close(write)
        self._originals[stream] = original
        return threading.Thread(target=self._copy, args=(read, original), name="driver-log", daemon=True)

    def _copy(self, read: int, original: int) -> None:
        with open(read, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 16):
                os.write(original, chunk)
                with self._lock:
                    os.pwrite(self._file.fileno(), chunk, self._size())

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _keep_storing(self) -> None:
        while not self._ended.wait(STORE_SECONDS):
            self._store()

    def _store(self) -> None:
        size = self._size()
        attempt = self._attempt
        if attempt is None or size == self._stored or superseded(attempt):
            return
        data = os.pread(self._file.fileno(), MOST_BYTES, max(0, size - MOST_BYTES))
        try:
            attempt.store.write("logs/driver.log", data)
            self._stored = size
        except VisionjobsError as error:
            log.warning("the driver's log could not be stored: %s", error)


def superseded(attempt: Attempt) -> bool:
    """Whether a newer attempt holds the run; the finaliser of this one does not count. True where it cannot be told."""
    try:
        return any(claim.number > attempt.number for claim in attempt.run.attempts())
    except VisionjobsError:
        return True


@contextmanager
def ray_logs_kept(attempt: Attempt) -> Iterator[None]:
    """After the block, while Ray is still there, store the ends of its session logs on every node that answers."""
    try:
        yield
    finally:
        if not superseded(attempt):
            try:
                _store_ray_logs(attempt)
            except Exception as error:  # noqa: BLE001 (Ray's API raises all kinds; logs are not worth a failure)
                log.warning("Ray's logs could not be stored: %s: %s", type(error).__name__, error)


def _store_ray_logs(attempt: Attempt) -> None:
    from ray.util.state import get_log, list_logs, list_nodes

    for node in list_nodes():
        if node["state"] != "ALIVE":
            continue
        for names in list_logs(node_id=node["node_id"]).values():
            for name in names:
                if not name.endswith((".log", ".out", ".err")):
                    continue
                text = "".join(get_log(node_id=node["node_id"], filename=name, tail=TAIL_LINES, errors="replace"))
                if text.strip():
                    attempt.store.write(f"logs/ray/{node['node_ip']}/{name}", text)
