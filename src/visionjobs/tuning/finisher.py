"""What follows a trial's training, in the sweep's own process while the next trials train: its run is completed, or the
end of it told to wandb. One trial after the other: all of it is work for the CPU.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from visionjobs.errors import VisionjobsError, first_line
from visionjobs.runs import TRAINED, Attempt, Run
from visionjobs.sweeps import Sweep, Trial, early_reason
from visionjobs.tasks.base import OnStage
from visionjobs.training.background import Background
from visionjobs.training.ending import complete_run, left_outcome
from visionjobs.training.finalise import Ending
from visionjobs.tuning.mirrors import Mirrors

SETTLE_SECONDS = 60.0
"""How long a trial that was told to stop is waited for; it is told to wandb then as it is."""


class Finisher:
    """A thread. `close` waits until all that was put in is done. A trial that cannot be completed is a warning, and the
    others are; what it fails with that nobody foresaw is raised by `close`, too."""

    def __init__(
        self, sweep: Sweep, cache: Path, mirrors: Mirrors, warn: Callable[[str], None], stage: OnStage
    ) -> None:
        self._sweep, self._cache, self._mirrors, self._warn, self._stage = sweep, cache, mirrors, warn, stage
        self._ended: queue.Queue[Trial | None] = queue.Queue()
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = Background(self._work, "finisher")

    def put(self, trial: Trial) -> None:
        """A trial whose process is done with it, however it ended."""
        self._ended.put(trial)

    def end(self) -> Background:
        """No more trials follow. Returns the thread, which ends with the last of them."""
        self._ended.put(None)
        return self._thread

    def abandon(self) -> None:
        """Leave what is not begun: the next attempt of the sweep finds it."""
        self._abandoned = True

    def close(self) -> None:
        """Wait for the rest; again, it does nothing. Raises what is no trial's own failure."""
        self._ended.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (trial := self._ended.get()) is not None:
            if self._abandoned:
                continue
            try:
                self._finish(trial)
            except VisionjobsError as error:
                self._warn(f"trial {trial.number}: {error}")
            except Exception as error:  # noqa: BLE001 (raised by close, in the thread that waits)
                self._warn(f"trial {trial.number}: {type(error).__name__}: {first_line(error)}")
                self._error = self._error or error

    def _finish(self, trial: Trial) -> None:
        run = self._sweep.run_of(trial)
        state, claims = self._settled_state(run), run.claims()
        if not claims:  # it could not begin: there is nothing to complete or to tell of
            return
        stopped = self._sweep.stopped(trial)
        if state == "running" and stopped is not None:  # Tune kills the last one of all in the middle of its step
            state, reason = "interrupted", early_reason(stopped)
            Attempt(run, claims[-1].number).update_record(state=state, message=reason, stopped=reason)
        with closing(self._mirrors.take(trial)) as mirror:
            left = left_outcome(run) if state == TRAINED and stopped is None else None
            if left is None:
                mirror.finish(None, str(state), Attempt(run, claims[-1].number).check_not_superseded)
                return
            attempt, outcome = left
            self._stage(f"completing trial {trial.number}")
            ending = Ending(self._sweep.root, self._cache, self._warn, lambda _: None, mirror)
            complete_run(attempt, run.spec_now(), outcome, ending)

    def _settled_state(self, run: Run) -> str:
        """The record's state, once the attempt has ended: one that is stopped early ends its step first."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (state := str(run.record().get("state"))) == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
        return state
