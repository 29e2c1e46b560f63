"""The trials in wandb, as a group under the sweep's id. The driver feeds them: trials' processes have no API key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from visionjobs.errors import StorageError
from visionjobs.sweeps import Sweep, Trial
from visionjobs.tracking.mirror import Mirror, open_mirror


class Mirrors:
    """One mirror a trial, from its first report on. Thread-safe."""

    def __init__(self, sweep: Sweep, api_key: str | None, warn: Callable[[str], None]) -> None:
        self._sweep, self._key, self._warn = sweep, api_key, warn
        self._open: dict[int, Mirror] = {}
        self._lock = threading.Lock()

    def rows(self, trial: Trial, epoch: int) -> None:
        """The trial has reported after so many epochs. Without a key nobody watches, and it is written at its end."""
        if self._key is None:
            return
        run = self._sweep.run_of(trial)
        with suppress(StorageError):  # only for show, and told again with the next epoch
            self._get(trial).rows([row for row in run.history() if row["epoch"] < epoch])

    def take(self, trial: Trial) -> Mirror:
        """The trial's mirror, for whoever ends it."""
        mirror = self._get(trial)
        with self._lock:
            self._open.pop(trial.number, None)
        return mirror

    def close(self) -> None:
        """End those that nobody took."""
        with self._lock:
            left = list(self._open.values())
            self._open.clear()
        for mirror in left:
            mirror.close()

    def _get(self, trial: Trial) -> Mirror:
        with self._lock:
            if trial.number not in self._open:
                run = self._sweep.run_of(trial)
                self._open[trial.number] = open_mirror(run, run.spec_now(), self._key, self._warn, group=self._sweep.id)
            return self._open[trial.number]
