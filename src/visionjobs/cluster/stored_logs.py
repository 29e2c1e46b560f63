"""The logs that a run keeps in its folder (training/run_logs.py writes them)."""

from __future__ import annotations

from dataclasses import dataclass

from visionjobs.errors import MissingObjectError, UserError
from visionjobs.runs import Run
from visionjobs.storage import Store


@dataclass(frozen=True)
class StoredLog:
    """One attempt's. driver: what its driver printed, None where that was not stored; ray: how many of Ray's session
    logs there are, below `store`/ray."""

    attempt: int
    driver: bytes | None
    ray: int
    store: Store


def stored_logs(run: Run, attempt: int | None = None) -> list[StoredLog]:
    """Of all attempts, oldest first, or of one. Raises UserError where the run has no such attempt."""
    numbers = [claim.number for claim in run.attempts()]
    if attempt is not None and attempt not in numbers:
        known = ", ".join(map(str, numbers)) or "none yet"
        raise UserError(f"run {run.id} has no attempt {attempt}; it has: {known}")
    return [_stored(run, number) for number in numbers if attempt in (None, number)]


def _stored(run: Run, attempt: int) -> StoredLog:
    store = run.store.at("attempts", f"{attempt:04}", "logs")
    try:
        driver = store.read("driver.log")
    except MissingObjectError:
        driver = None
    return StoredLog(attempt, driver, len(store.entries("ray")), store)
