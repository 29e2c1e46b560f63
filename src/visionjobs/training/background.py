"""A thread that is waited for in a way that Ctrl-C does not spoil."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Runs `work` in a daemon thread, at once.

    Not by Thread.join: a KeyboardInterrupt that comes within join(timeout) makes Python 3.11 take a living thread for
    one that has ended (CPython issue 90882), and nobody would wait for it any more.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._ended = threading.Event()
        self._work = work
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()

    def is_alive(self) -> bool:
        """Whether it still works."""
        return not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, `timeout` seconds at most."""
        self._ended.wait(timeout)
