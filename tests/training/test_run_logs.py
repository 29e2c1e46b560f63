"""The driver's own log: both streams, child processes too, stored with the attempt, and not by one superseded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tiny import tiny_spec

from visionjobs.errors import MissingObjectError
from visionjobs.runs import Attempt, create_run
from visionjobs.storage import open_store
from visionjobs.training import run_logs
from visionjobs.training.run_logs import DriverLog, superseded


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return create_run(open_store(str(tmp_path)), tiny_spec(), "{}").claim("attempt", {})


def stored(attempt: Attempt) -> str:
    return attempt.store.read("logs/driver.log").decode()


def test_both_streams_and_children_are_stored_and_still_printed(
    attempt: Attempt, capfd: pytest.CaptureFixture[str]
) -> None:
    driver_log = DriverLog()
    os.write(2, b"before the attempt is known\n")
    driver_log.belongs_to(attempt)
    os.write(1, b"to stdout\n")
    subprocess.run([sys.executable, "-c", "import sys; print('of a child', file=sys.stderr)"], check=True)
    driver_log.close()
    os.write(2, b"afterwards\n")
    assert sorted(stored(attempt).splitlines()) == ["before the attempt is known", "of a child", "to stdout"]
    printed = capfd.readouterr()
    assert printed.out == "to stdout\n", "each stream stays itself"
    assert printed.err == "before the attempt is known\nof a child\nafterwards\n"


def test_it_is_stored_while_it_grows(attempt: Attempt, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(DriverLog()) as driver_log:
        driver_log.belongs_to(attempt)
        os.write(2, b"one\n")
        _until_copied(driver_log, 4)
        driver_log._store()
        assert stored(attempt) == "one\n"


def test_only_the_end_of_a_long_log_is_stored(
    attempt: Attempt, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(DriverLog()) as driver_log:
        monkeypatch.setattr(run_logs, "MOST_BYTES", 10)
        driver_log.belongs_to(attempt)
        os.write(2, b"0123456789abcdef")
        _until_copied(driver_log, 16)
        driver_log._store()
        assert stored(attempt) == "6789abcdef"


def test_a_superseded_attempt_stores_nothing(attempt: Attempt, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(DriverLog()) as driver_log:
        driver_log.belongs_to(attempt)
        attempt.run.claim("attempt", {})
        os.write(2, b"late\n")
        _until_copied(driver_log, 5)
        driver_log._store()
        with pytest.raises(MissingObjectError):
            stored(attempt)


def test_the_finaliser_of_an_attempt_does_not_supersede_its_log(attempt: Attempt) -> None:
    attempt.run.claim("finaliser", {"attempt": 1}, number=2)
    assert not superseded(attempt)
    attempt.run.claim("attempt", {})
    assert superseded(attempt)


def test_it_is_stored_with_its_own_attempt_whatever_was_claimed_since(
    attempt: Attempt, capfd: pytest.CaptureFixture[str]
) -> None:
    newer = attempt.run.claim("attempt", {})
    driver_log = DriverLog()
    driver_log.belongs_to(attempt)
    os.write(2, b"of the first\n")
    driver_log.close()
    for one in (attempt, newer):
        with pytest.raises(MissingObjectError):
            stored(one)


def test_a_child_that_lives_on_is_not_waited_for(attempt: Attempt, capfd: pytest.CaptureFixture[str]) -> None:
    driver_log = DriverLog()
    driver_log.belongs_to(attempt)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.write(2, b"said\n")
        began = time.monotonic()
        driver_log.close()
        assert time.monotonic() - began < 5
        assert stored(attempt) == "said\n"
    finally:
        child.kill()
        child.wait()


def _until_copied(driver_log: DriverLog, size: int) -> None:
    for _ in range(500):
        if driver_log._size() >= size:
            return
        time.sleep(0.01)
    raise AssertionError("nothing was copied")
