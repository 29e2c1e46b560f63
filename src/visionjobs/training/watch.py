"""Following an attempt while its workers train: progress for who waits, epochs for wandb, and the longest time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from visionjobs.cluster.local import Connection
from visionjobs.cluster.submission import GRACE_SECONDS
from visionjobs.errors import StoppedError, StorageError, VisionjobsError, error_from
from visionjobs.runs import Attempt, read_progress, request_stop
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes
from visionjobs.tracking.mirror import Mirror
from visionjobs.training.background import Background
from visionjobs.training.stop import POD, StopFile
from visionjobs.training.worker_main import Outcome


@dataclass(frozen=True)
class Watcher:
    """What is told to the person who waits."""

    started: Callable[[Attempt, Connection], None]
    progress: Callable[[dict[str, Any]], None]
    warn: Callable[[str], None]
    stage: Callable[[str], None]
    transfer: Callable[[str, int], OnBytes]


def watch(train: Callable[[], Outcome], attempt: Attempt, spec: JobSpec, watcher: Watcher, mirror: Mirror) -> Outcome:
    """Run `train` in a thread and show progress until it ends. Raises the error that the workers returned.

    Where this pod, perhaps one without workers, is told to go, or its time is over, the attempt is asked to stop, and
    waited for.
    In a thread, because Ray's own SIGINT handler, which it installs in the main thread only, ends with status 0.
    """
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcomes.append(train())
        except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
            errors.append(error)

    thread = Background(target, "ray-train")
    interval = 2.0 if attempt.store.address.startswith("s3://") else 0.5
    deadline = time.monotonic() + spec.limits.hours * 3600 if spec.limits.hours else None
    progress = _Progress(attempt, watcher, mirror)
    told, asked = StopFile(), False
    over = f"its {spec.limits.hours} hours are over (limits.hours)"
    while thread.is_alive():
        thread.join(interval)
        progress.look()
        is_late = deadline is not None and time.monotonic() > deadline
        if not asked and (is_late or told.is_there()):
            asked = _ask_to_stop(attempt, over if is_late else POD, watcher)
        if deadline is not None and time.monotonic() > deadline + GRACE_SECONDS:
            raise VisionjobsError(f"ended without a checkpoint of its last step: {over}")
    if errors:
        raise errors[0]
    outcome = outcomes[0]
    if outcome.error is not None and outcome.stopped is not None:
        raise StoppedError(outcome.error, outcome.stopped)
    if outcome.error is not None:
        raise error_from(outcome.error, outcome.exit_status)
    return outcome


def _ask_to_stop(attempt: Attempt, why: str, watcher: Watcher) -> bool:
    """Whether the request was stored; where the storage does not answer it is tried again."""
    try:
        attempt.check_not_superseded()
        request_stop(attempt.store, why)
    except StorageError as error:
        watcher.warn(str(error))
        return False
    watcher.stage("stopping at the end of a step")
    return True


class _Progress:
    """Passes on what is new since the last look."""

    def __init__(self, attempt: Attempt, watcher: Watcher, mirror: Mirror) -> None:
        self._attempt, self._watcher, self._mirror = attempt, watcher, mirror
        self._newest = -1
        self._history: list[dict[str, Any]] = []

    def look(self) -> None:
        """Progress is only for show: the workers decide whether a run can go on without its storage."""
        try:
            progress = read_progress(self._attempt.store)
            if progress is not None:
                self._watcher.progress(progress)
                self._take_rows(progress.get("rows") or [])
        except StorageError as error:
            self._watcher.warn(str(error))
        self._mirror.rows(self._history)  # at each look: a server that refuses is told of at once

    def _take_rows(self, rows: list[dict[str, Any]]) -> None:
        if rows and rows[-1]["epoch"] != self._newest:
            self._newest = rows[-1]["epoch"]
            # without what an earlier attempt wrote of epochs that are trained anew
            self._history = [row for row in self._attempt.run.history() if row["epoch"] <= self._newest]
