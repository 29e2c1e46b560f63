"""A trial in a process of Ray's: an attempt of an ordinary run, reported epoch by epoch.

With one worker the process is that worker (training/in_process.py): no Ray Train has to be started. With more, it
drives Ray Train's workers, and holds no CPU itself. The process is used again by the next trial.

What is left to do on the CPU after the last epoch's evaluation (metrics of the kept samples, figures, the report) is
not done here, where it would hold the GPU, but by the sweep's driver (finisher.py).
"""

from __future__ import annotations

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune

from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share
from visionjobs.errors import FinalError, StoppedError, StorageError, SupersededError, UserError, VisionjobsError
from visionjobs.jobfile import build_spec
from visionjobs.runs import Attempt, Run, request_stop, run_folder, stop_requested
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import open_store
from visionjobs.tracking.mirror import Off
from visionjobs.training.driver import train_run
from visionjobs.training.in_process import trains_here
from visionjobs.training.place import Place, Say
from visionjobs.training.predict_boxes import stream_here, stream_on_ray
from visionjobs.training.ray_workers import train_on_ray
from visionjobs.training.recorder import Link
from visionjobs.training.stop import POD
from visionjobs.training.watch import Watcher
from visionjobs.tuning.asha import ENDED, EPOCH, NUMBER, VALUE

STOP_SECONDS = 600.0
"""Longest wait for a trial to end its step and store a checkpoint."""

ENDED_BY_SWEEP = "its sweep was ended"

DONE, FAILED, STOPPED, BROKEN_OFF = "done", "failed", "stopped", "broken off"
"""How a trial ended, as its last report says: trained; failed for good; told to stop, as a rule by the sweep; by what
may pass, and is no reason to try it again now: the next attempt of the sweep does."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialWork:
    """All that a trial's process is told: plain values, no credentials. spec: the trial's; share: of each worker;
    before: attempts of its run that the sweep's driver found."""

    number: int
    run: str
    metric: str
    settings: Settings
    spec: dict[str, Any]
    share: Share
    on_device: int
    before: int = 0


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray Tune has no types
    """One trial after the other. config: {"number", "work": TrialWork}."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a trial."""
        self._name = str(config["work"].run)
        self._broken: Exception | None = None
        self._attempt: _TrialAttempt | None = _TrialAttempt(config["work"])

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch's row, or the end."""
        if self._broken is not None:
            raise self._broken
        if self._attempt is None:
            raise RuntimeError("no trial was begun")
        return self._attempt.next_report()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """End this trial, and begin the next one. Where that cannot be in this process, the next one's first step
        raises why, and Tune gives it another process; raised here, Tune would end the next trial for it."""
        try:
            self._end()
        except Exception as error:  # noqa: BLE001 (raised by step)
            self._name, self._broken = str(new_config["work"].run), error
        else:
            self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """End this trial: with a checkpoint, where it still trains."""
        self._end()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A trial's checkpoints are its run's own."""

    def _end(self) -> None:
        if self._attempt is None:
            return
        ended, self._attempt = self._attempt, None
        ended.stop()
        del ended
        gc.collect()
        import torch

        if "torch._dynamo" in sys.modules:  # else what is compiled would depend on the trials before
            torch._dynamo.reset()

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __repr__(self) -> str:
        return f"Trials({self._name.rpartition('-t')[0]})"  # what Ray's dashboard calls the process


class _TrialAttempt:
    """The next attempt of a trial's run, in a thread."""

    def __init__(self, work: TrialWork) -> None:
        self.work = work
        self._rows: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reported: dict[str, Any] = {EPOCH: 0, VALUE: None}
        self._why_stop: str | None = None
        self._held: Attempt | None = None
        self._error: BaseException | None = None
        self._root = open_store(work.settings.storage, work.settings.endpoint)
        self._run = Run(work.run, run_folder(self._root, work.run))
        self._thread = threading.Thread(target=self._train, name=work.run, daemon=True)
        self._thread.start()

    def next_report(self) -> dict[str, Any]:
        """The next epoch's; after the last the end. Raises what may pass, limits.worker_failures times: Tune starts the
        trial once more, from its newest checkpoint."""
        while (row := self._rows.get()) is not None:
            if row["epoch"] + 1 > self._reported[EPOCH]:  # else it was trained anew after a restart, to the same value
                self._reported = {EPOCH: row["epoch"] + 1, VALUE: row.get(self.work.metric)}
                return self._report()
        self._thread.join()
        ended = self._how_it_ended()
        return self._report() | {ENDED: ended, "done": True, "message": str(self._error or "")}

    def stop(self) -> None:
        """End it, with a checkpoint where it still trains, and wait."""
        self._why_stop = ENDED_BY_SWEEP
        try:
            self._why_stop = stop_requested(self._run.store) or ENDED_BY_SWEEP
        except StorageError as error:
            log.warning("%s", error)
        if self._thread.is_alive() and self._held is not None and self.work.share.workers > 1:
            try:
                request_stop(self._held.store, self._why_stop)
            except StorageError as error:
                log.warning("%s", error)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise VisionjobsError(f"{self.work.run} does not end: its process cannot be used again")

    def _report(self) -> dict[str, Any]:
        return {NUMBER: self.work.number, **self._reported}

    def _how_it_ended(self) -> str:
        error = self._error
        if error is None:
            return DONE
        if isinstance(error, StoppedError) and error.reason != POD:
            return STOPPED
        if isinstance(error, FinalError | UserError):
            return FAILED
        if isinstance(error, SupersededError):  # by another driver of the sweep, whose trial it is now
            return STOPPED
        if isinstance(error, StoppedError):
            time.sleep(STOP_SECONDS)  # the pod goes, and this process with it: started anew here it would not begin
        elif isinstance(error, StorageError) or self._held is None:
            return BROKEN_OFF
        elif len(self._run.attempts()) > self.work.before + self.work.spec["limits"]["worker_failures"]:
            return FAILED
        raise error

    def _train(self) -> None:
        try:
            spec = build_spec(self.work.spec, f"run {self.work.run}")
            for row in self._run.history():  # of earlier attempts: the scheduler may not know of them yet
                self._rows.put(row)
            train_run(self.work.settings, self._root, spec, self._run, self._watcher(), place=self._place())
        except BaseException as error:  # noqa: BLE001 (told by next_report, in the other thread)
            self._error = error
        finally:
            self._rows.put(None)

    def _place(self) -> Place:
        nested = self.work.share.workers > 1
        return Place(
            connect=_connected,
            share=self._given_share,
            keeps_logs=False,
            train=train_on_ray if nested else trains_here(Link(self._rows.put, lambda: self._why_stop)),
            stream=stream_on_ray if nested else stream_here,
            mirror=lambda *_: Off(),
            completes=False,
            trials_on_device=self.work.on_device,
        )

    def _given_share(self, spec: JobSpec, connection: Connection, say: Say) -> tuple[Share, str | None]:
        return self.work.share, None

    def _watcher(self) -> Watcher:
        return Watcher(self._started, self._progress, log.warning, log.info, lambda *_: lambda _: None)

    def _started(self, attempt: Attempt, _: Connection) -> None:
        self._held = attempt
        if self._why_stop is not None:  # it was ended while it began
            request_stop(attempt.store, self._why_stop)

    def _progress(self, progress: dict[str, Any]) -> None:
        for row in progress.get("rows") or []:
            self._rows.put(row)


@contextmanager
def _connected(_: Settings) -> Iterator[Connection]:
    """This process is one of Ray's."""
    yield Connection(False, "", Resources(0, 0))
