"""Stopping at a step boundary, when a pod is told to go or someone asks for it.

In a pod: the preStop hook makes the file `stop` in $VISIONJOBS_STOP_DIR, and waits while a file `running-*` there names
a living process (one that was killed leaves its file). In the storage: stop.json in the run's or the attempt's folder
(runs.request_stop), which the main worker's recorder looks for. The workers compare what they saw, so that all stop at
the same step, or none.

Not by `ray.train.get_preemption_info()` (Ray 2.60): each call is a barrier of all workers by way of an actor, and gives
only what rank 0 knows; that is polled every 5 s, and needs a node that Ray drains. `ray start` drains its node when it
gets SIGTERM, which in a pod is after the preStop hook, and for 30 s at most: too short for a checkpoint. A cancelled
run has no such node at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from visionjobs.errors import StoppedError, UserError, VisionjobsError

if TYPE_CHECKING:
    from visionjobs.training.recorder import Recorder
    from visionjobs.training.worker import Worker

VARIABLE = "VISIONJOBS_STOP_DIR"
"""Names the folder of this pod's files; unset outside of pods, where nobody is told in this way."""

POD = "a pod of it was told to go"
ASKED = "it was asked to"

LOOK_SECONDS, LOOK_STEPS = 5.0, 50
"""The workers compare notes after about so long, and at most so many steps: the only wait within an epoch."""

_FILE, _STORAGE, _NOBODY = range(3)
"""Who asked, as a number whose minimum over the workers is what counts."""


def _folder() -> Path | None:
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


@contextmanager
def running(name: str) -> Iterator[None]:
    """While inside, `running-<name>` with this process's id is there, and this pod's preStop hook waits.

    Raises UserError where the folder cannot be written to.
    """
    folder = _folder()
    if folder is None:
        yield
        return
    file, unfinished = folder / f"running-{name}", folder / f".{name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(f"{os.getpid()}\n")
        unfinished.rename(file)
    except OSError as error:
        raise UserError(
            f"{VARIABLE}: {folder} cannot be written to ({error}): name a folder of this pod that can"
        ) from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


class StopFile:
    """The file that tells this pod to go. Without VISIONJOBS_STOP_DIR there is none, and nobody is told."""

    def __init__(self) -> None:
        folder = _folder()
        self._file = None if folder is None else folder / "stop"

    def is_there(self) -> bool:
        """One stat: microseconds."""
        return self._file is not None and self._file.exists()

    def make(self) -> bool:
        """Make it, as the preStop hook does. False where it cannot be, or is there already."""
        if self._file is None or self._file.exists():
            return False
        try:
            self._file.touch()
        except OSError:
            return False
        return True


def refuse_told() -> None:
    """Raises StoppedError where this pod was told to go: what has not begun need not begin here."""
    if StopFile().is_there():
        raise StoppedError(f"not begun: {POD}", POD)


class Lookout:
    """One worker's look for a request to stop, and the number of steps until all compare what they saw.

    That number is agreed by the same collective, from the slowest worker's steps, and so is equal on all.
    asked: what the recorder found in the storage, None on the other workers.
    """

    def __init__(self, worker: Worker, asked: Callable[[], str | None]) -> None:
        self._worker, self._asked, self._file = worker, asked, StopFile()
        self.begin()

    def begin(self) -> None:
        """An epoch or an evaluation begins, whose steps may take a hundred times as long: compare after the first. All
        workers call it at the same place."""
        self._interval, self._steps, self._since = 1, 0, time.monotonic()

    def due(self) -> bool:
        """Count a step that all workers did; whether they are to compare notes after it."""
        self._steps += 1
        return self._steps >= self._interval

    def notes(self) -> list[int]:
        """The interval that this worker wants, and who asked it to stop: `take` takes the minimum over all."""
        each = (time.monotonic() - self._since) / max(self._steps, 1)
        wanted = LOOK_STEPS if each * LOOK_STEPS <= LOOK_SECONDS else max(1, int(LOOK_SECONDS / each))
        return [wanted, self._seen()]

    def take(self, interval: int, seen: int) -> str | None:
        """What the workers agreed on. Returns why to stop, or None: on all of them, or on none."""
        self._interval, self._steps, self._since = interval, 0, time.monotonic()
        return self._why(seen)

    def alone(self) -> str | None:
        """Why to stop, for a worker without others: no need to wait for the interval."""
        return self._why(self._seen()) if self._worker.world == 1 else None

    def between(self) -> str | None:
        """Why to stop, between batches that have no other notes (an evaluation); all workers call it equally often."""
        if self._worker.world == 1 or not self.due():
            return self.alone()
        notes = torch.tensor(self.notes(), dtype=torch.int64, device=self._worker.device)
        interval, seen = (int(value) for value in self._worker.minimum(notes).tolist())
        return self.take(interval, seen)

    def _seen(self) -> int:
        if self._file.is_there():
            return _FILE
        return _NOBODY if self._asked() is None else _STORAGE

    def _why(self, seen: int) -> str | None:
        if seen == _NOBODY:
            return None
        return POD if seen == _FILE else self._asked() or ASKED


def settle(worker: Worker, recorder: Recorder | None, why: str) -> None:
    """All workers wait until what the main one began to write is stored: when the first of them ends, its pod may go,
    and Ray would end the others. All raise where that failed.

    Noted as a request to this attempt: should Ray start the workers anew nevertheless, they stop too.
    """
    error: VisionjobsError | None = None
    if recorder is not None:
        recorder.stopping(why)
        try:
            recorder.close()
        except VisionjobsError as problem:
            error = problem
    if (first := worker.first_error(error)) is not None:
        raise first
