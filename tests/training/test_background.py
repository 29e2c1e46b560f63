"""Work in the background is waited for, also after Ctrl-C came within the wait."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from visionjobs.training.background import Background


def test_ctrl_c_within_the_wait_does_not_end_it() -> None:
    go = threading.Event()
    work = Background(lambda: _wait(go), "work")
    threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        work.join(20)
    assert work.is_alive()
    began = time.monotonic()
    work.join(0.3)
    assert time.monotonic() - began >= 0.25, "it is still waited for"
    go.set()
    work.join(10)
    assert not work.is_alive()


def _wait(event: threading.Event) -> None:
    event.wait(30)


def test_ends_with_its_work_also_where_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    done: list[int] = []
    whole = Background(lambda: done.append(1), "whole")
    whole.join(10)
    assert done == [1]
    broken = Background(lambda: 1 // 0, "broken")
    broken.join(10)
    assert not whole.is_alive()
    assert not broken.is_alive()
