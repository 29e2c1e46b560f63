"""The process that talks to wandb, as the driver sees it.

wandb has a process to itself because it takes over the one that it lives in: it replaces sys.exit and sys.excepthook,
interrupts the main thread when somebody stops the run in the web page, puts the address of its own service into the
environment of every later child, reads its environment once only, prints, and waits without end for a service that
hangs. A process can be given its own environment and standard output, does not hear Ctrl-C, and can be killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from visionjobs.tracking.messages import End, Plan, Rows

HONOURED = (
    "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS", "WANDB_NOTES",
    "WANDB_CONFIG_DIR", "WANDB_INSECURE_DISABLE_SSL",
)  # fmt: skip
"""Variables of wandb that mean what they mean to wandb. The others could make another run of it, or write elsewhere."""

PREFIX = "visionjobs-wandb-"

LONGEST_TMPDIR = 40
"""A socket's path must stay under 108 bytes, of which the folder's name and wandb's part take 65."""


class WriterProcess:
    """Started at once; `close` must be called. Nothing here waits longer than it is told to, whatever wandb does."""

    def __init__(self, plan: Plan) -> None:
        """`plan.folder` is chosen here. Raises OSError where no process or folder can be made."""
        long = len(tempfile.gettempdir()) > LONGEST_TMPDIR
        parent = "/tmp" if long else None  # noqa: S108 (the folder in it is private)
        self._temporary = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
        self._log = self.folder / "writer.log"
        self._answers = 0
        self._problem: str | None = None
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "visionjobs.tracking.writer", str(theirs.fileno())],
                env=self._environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._sender = ThreadPoolExecutor(1)  # a process that does not read must not hold up the driver
        self._send(replace(plan, folder=str(self.folder)))

    @property
    def folder(self) -> Path:
        """Where wandb writes; gone after `close`."""
        return Path(self._temporary.name)

    def send(self, message: Rows | End) -> None:
        """Have a message delivered, in order, without waiting."""
        self._send(message)

    def problem(self) -> str | None:
        """Why nothing more can be written, None while all is well. Does not wait."""
        self._receive(0)
        return self._problem

    def wait_until_written(self, seconds: float) -> str | None:
        """After `End` was sent: None when all is delivered (online) or on the disk (offline), else why not."""
        deadline = time.monotonic() + seconds
        while self._problem is None and self._answers < 2:
            left = deadline - time.monotonic()
            if left <= 0:
                self._problem = f"not done within {seconds:.0f} s"
            self._receive(max(0.0, left))
        return self._problem

    def close(self) -> None:
        """End the process, whatever it is at, and remove its folder. May be called twice."""
        family: list[psutil.Process] = []
        with suppress(psutil.Error):
            family = psutil.Process(self._process.pid).children(recursive=True)  # wandb-core has its own session
        self._process.kill()
        self._process.wait()
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=2)
        self._sender.shutdown(wait=False, cancel_futures=True)
        self._connection.close()
        self._temporary.cleanup()

    def _send(self, message: Plan | Rows | End) -> None:
        self._sender.submit(self._connection.send, message)  # that it failed shows when the answer is awaited

    def _receive(self, seconds: float) -> None:
        """Take in answers, waiting at most so long for one."""
        try:
            while self._problem is None and self._answers < 2 and self._connection.poll(seconds):
                self._problem = self._connection.recv()
                self._answers += self._problem is None
                seconds = 0
        except (EOFError, OSError):
            self._problem = self._last_words()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended unexpectedly ({last})" if last else "its process ended unexpectedly"

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_") or key in HONOURED}
        folder = str(self.folder)
        return kept | {
            "WANDB_DIR": folder,
            "WANDB_CACHE_DIR": folder,
            "WANDB_DATA_DIR": folder,
            "WANDB_ERROR_REPORTING": "false",
            "TMPDIR": folder,
        }
