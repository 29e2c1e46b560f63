"""Asking a storage again that does not answer: in a pod that has just started, before a retry is used up; in Tune's
thread, where an error would end every trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from visionjobs.errors import StorageError

PATIENCE_SECONDS = 300.0
WAIT_SECONDS = 15.0

T = TypeVar("T")

log = logging.getLogger(__name__)


def patiently(ask: Callable[[], T]) -> T:
    """`ask`, again and again while the storage does not answer, for PATIENCE_SECONDS at most."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except StorageError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("%s", error)
            time.sleep(WAIT_SECONDS)
