"""Following an attempt while its workers train: progress for who waits, epochs for wandb, and the longest time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from visionjobs.cluster.local import Connection
from visionjobs.errors import StorageError, VisionjobsError, error_from
from visionjobs.runs import Attempt, Run, read_progress
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes
from visionjobs.tracking.mirror import Mirror
from visionjobs.training.worker_main import Outcome


@dataclass(frozen=True)
class Watcher:
    """What is told to the person who waits."""

    started: Callable[[Run, Connection], None]
    progress: Callable[[dict[str, Any]], None]
    warn: Callable[[str], None]
    stage: Callable[[str], None]
    transfer: Callable[[str, int], OnBytes]


def watch(train: Callable[[], Outcome], attempt: Attempt, spec: JobSpec, watcher: Watcher, mirror: Mirror) -> Outcome:
    """Run `train` in a thread and show progress until it ends. Raises the error that the workers returned.

    In a thread, because Ray's own SIGINT handler, which it installs in the main thread only, ends with status 0.
    """
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcomes.append(train())
        except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
            errors.append(error)

    thread = threading.Thread(target=target, name="ray-train", daemon=True)
    thread.start()
    interval = 2.0 if attempt.store.address.startswith("s3://") else 0.5
    deadline = time.monotonic() + spec.limits.hours * 3600 if spec.limits.hours else None
    newest: int | None = None
    while thread.is_alive():
        thread.join(interval)
        newest = _look(attempt, watcher, mirror, newest)
        if deadline is not None and time.monotonic() > deadline:
            raise VisionjobsError(f"stopped after {spec.limits.hours} hours (limits.hours)")
    if errors:
        raise errors[0]
    outcome = outcomes[0]
    if outcome.error is not None:
        raise error_from(outcome.error, outcome.exit_status)
    return outcome


def _look(attempt: Attempt, watcher: Watcher, mirror: Mirror, newest: int | None) -> int | None:
    """Pass on what is new. newest: the epoch that was passed on last; returns the one that is now."""
    try:
        progress = read_progress(attempt.store)
        if progress is None:
            return newest
        watcher.progress(progress)
        epoch: int | None = progress["rows"][-1]["epoch"] if progress.get("rows") else newest
        if epoch != newest:
            mirror.rows(attempt.run.history())
    except StorageError as error:  # only for show: the workers decide whether the run can go on
        watcher.warn(str(error))
        return newest
    return epoch
