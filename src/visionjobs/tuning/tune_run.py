"""Ray Tune at work in a thread, while this one watches: the person, a request to stop, another driver's claim."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler

from visionjobs.errors import StoppedError, StorageError, SupersededError, VisionjobsError, first_line
from visionjobs.patience import patiently
from visionjobs.runs import Attempt, now, request_stop, stop_requested
from visionjobs.sweep_progress import ENDING, RUNNING, follow_sweep
from visionjobs.sweeps import Stopped, Trial, section_of
from visionjobs.training.background import Background
from visionjobs.training.stop import POD, StopFile
from visionjobs.tuning.asha import ENDED, EPOCH, NUMBER, VALUE, Asha
from visionjobs.tuning.board import Board
from visionjobs.tuning.finisher import Finisher
from visionjobs.tuning.lost import why_lost
from visionjobs.tuning.mirrors import Mirrors
from visionjobs.tuning.suggest import Suggest, Trialling
from visionjobs.tuning.trial import BROKEN_OFF, DONE, ENDED_BY_SWEEP, FAILED, TrialActor
from visionjobs.tuning.watch import SweepWatcher

TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files of what the runs' histories hold
    "RAY_AIR_NEW_OUTPUT": "0",  # else Tune prints tables of its own, at any verbosity
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own state is not needed: all of it is in the sweep's folder
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "600",  # how long a trial that is ended may take for its checkpoint
}

STOP_SECONDS = 600.0
"""Longest wait for the trials to stop, each with a checkpoint, when the sweep is told to."""


class _Stopping(Stopper):  # type: ignore[misc]  # Ray Tune has no types
    """Ends all trials, once it is told to."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.now


class TuneRun:
    """All trials of an attempt that are not ended yet.

    broken: trial -> why it was broken off, or lost its process, for the last time.
    """

    def __init__(
        self, common: Trialling, holder: Attempt, board: Board, finisher: Finisher, mirrors: Mirrors,
        watcher: SweepWatcher,
    ) -> None:  # fmt: skip
        self._common, self._holder, self._board = common, holder, board
        self._finisher, self._mirrors, self._watcher = finisher, mirrors, watcher
        self._sweep, self._section = common.sweep, section_of(common.spec)
        self._stopping = _Stopping()
        self._errors: list[BaseException] = []
        self.broken: dict[int, str] = {}

    def run(self) -> None:
        """Until all have ended. Raises StoppedError where the sweep was told to stop, SupersededError where another
        driver took it over; the trials have their checkpoints then, and their processes are gone."""
        scheduler = self._scheduler()  # may still stop some early
        unfinished = self._take_up()
        wanted = self._section.trials - len(self._board.trials()) + len(unfinished)
        if wanted <= 0:
            return
        search = Suggest(self._common, self._holder, self._board, unfinished, self._exhausted)
        thread = Background(lambda: self._tune(search, scheduler, wanted), "ray-tune")
        try:
            self.watch(thread)
        except BaseException as error:
            search.closed = True
            self._watcher.stage("stopping: each running trial ends its step and stores a checkpoint")
            if not isinstance(error, SupersededError):  # then they may be the other driver's by now
                self._end_trials(thread)
            self._stopping.now = True
            thread.join(STOP_SECONDS)
            raise
        if self._errors:
            raise _explained(self._errors[0])

    def _take_up(self) -> list[Trial]:
        """Trials to be continued. Those that were trained, and whose completion was not begun, go to the finisher; one
        that was broken off while it was completed is evaluated once more, from its last checkpoint."""
        unfinished = []
        for state in self._board.states():
            trial = self._trial(state.number)
            if state.ended or self._sweep.stopped(trial) is not None:
                continue
            if state.state == ENDING and self._sweep.run_of(trial).claims()[-1].kind == "attempt":
                self._finisher.put(trial)
            else:
                unfinished.append(trial)
        return unfinished

    def _tune(self, search: Suggest, scheduler: Any, wanted: int) -> None:
        share, spec = self._common.trials.share, self._common.spec
        with tempfile.TemporaryDirectory(prefix="visionjobs-tune-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.environ.update(TUNE_ENVIRONMENT)
            for name in ("ray.tune", "ray.train"):  # each trial's failure with its traceback: it is in its run's record
                logging.getLogger(name).setLevel(logging.CRITICAL)
            try:
                tune.run(
                    TrialActor,
                    name=self._sweep.id,
                    num_samples=wanted,
                    search_alg=search,
                    scheduler=scheduler,
                    max_concurrent_trials=self._common.trials.at_once,
                    resources_per_trial=_resources(share.workers, share.cpus, share.gpus),
                    max_failures=spec.limits.attempts,  # of processes that are killed; for others see trial.py
                    raise_on_failed_trial=False,
                    reuse_actors=True,  # a process takes seconds to start, most of them torch's
                    stop=self._stopping,
                    storage_path=folder,
                    callbacks=[_Events(self)],
                    verbose=0,
                    trial_name_creator=lambda trial: trial.config["work"].run,
                    trial_dirname_creator=lambda trial: trial.config["work"].run,
                )
            except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
                self._errors.append(error)

    def _scheduler(self) -> Any:
        if self._section.scheduler == "none":
            return FIFOScheduler()
        asha = Asha(self._common.spec, self._stop_early)
        alone = all(claim.info.get("at_once") == 1 for claim in self._sweep.folder.attempts())
        for state in self._board.states():
            if state.ended:
                asha.remember(state.number, state.curve)
            elif state.state == ENDING:  # trained faster than it was judged
                asha.judge(state.number, state.curve)
            else:
                # It reports all of them again. If there was never more than one at a time, the records are those of
                # then, and so are the decisions; else only the last epoch is still to be judged.
                asha.remember(state.number, () if alone else state.curve[:-1])
        return asha

    def _stop_early(self, number: int, stopped: Stopped) -> None:
        self._store(lambda: self._sweep.stop_early(self._trial(number), stopped))
        self._board.end(number, complete=False)

    def _store(self, write: Callable[[], None]) -> None:
        """Write to the sweep's folder, patiently, while it is this driver's. What ends the sweep is kept: Tune hands on
        only the text of its traceback."""

        def as_its_driver() -> None:
            self._holder.check_not_superseded()
            write()

        try:
            patiently(as_its_driver)
        except VisionjobsError as error:
            self._errors.append(error)
            raise

    def reported(self, result: dict[str, Any]) -> None:
        """A trial told of an epoch, or of its end."""
        trial = self._trial(result[NUMBER])
        if ENDED not in result:
            self._board.report(result)
            self._mirrors.rows(trial, result[EPOCH])
            return
        if result[ENDED] == FAILED:
            message, last = result["message"], self.broken.get(trial.number, "")
            told = message if last in message else f"{message}; its process ended with: {last}"
            self._store(lambda: self._fail(trial, told))
        elif result[ENDED] == BROKEN_OFF:
            self.lost(trial.number, result["message"])
        self._board.end(trial.number, complete=result[ENDED] == DONE and result[VALUE] is not None)

    def _fail(self, trial: Trial, message: str) -> None:
        claim = next(claim for claim in self._sweep.folder.claims() if claim.number == self._holder.number)
        self._sweep.fail(trial, message, claim.info)

    def lost(self, number: int, why: str, then: str = "") -> None:
        """A trial was broken off, or its process is gone."""
        self.broken[number] = why
        self._watcher.warn(f"trial {number}: {why}{then}")

    def gone(self, number: int) -> None:
        """A trial's process is done with it."""
        self._finisher.put(self._trial(number))

    def _trial(self, number: int) -> Trial:
        return self._board.trials()[number]

    def _exhausted(self, number: int) -> None:
        self._watcher.warn(
            f"the search space gives no more than {number} different trials: sweep.trials = {self._section.trials} "
            "cannot be reached"
        )
        patiently(lambda: self._holder.update_record(trials=number, exhausted=True))

    def watch(self, thread: Background) -> None:
        """Wait for `thread`, and show how far the sweep is. Raises what ends it before."""
        interval = 5.0 if self._sweep.store.address.startswith("s3://") else 1.0
        told = StopFile()
        while thread.is_alive():
            thread.join(interval)
            why = POD if told.is_there() else None
            try:
                self._holder.write("progress.json", json.dumps({"updated": now()}))  # raises where it is superseded
                self._show()
                why = why or stop_requested(self._sweep.store)
            except StorageError as error:
                self._watcher.warn(str(error))
            if why is not None:
                raise StoppedError(f"the sweep was stopped: {why}", why)

    def _show(self) -> None:
        self._watcher.changed(follow_sweep(self._sweep, self._board.read()))

    def _end_trials(self, thread: Background) -> None:
        """Ask the running trials, and those that begin meanwhile, to stop with a checkpoint, and wait for it: Tune
        itself kills a process 10 seconds after it was told to end."""
        asked: set[tuple[int, int]] = set()
        deadline = time.monotonic() + STOP_SECONDS
        while thread.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(StorageError):
                running = [state.number for state in self._board.read() if state.state == RUNNING]
                for number in running:
                    run = self._sweep.run_of(self._trial(number))
                    newest = run.claims()[-1].number
                    if (number, newest) not in asked:
                        request_stop(Attempt(run, newest).store, ENDED_BY_SWEEP)
                        asked.add((number, newest))
                if not running:
                    return
            thread.join(0.5)


def _explained(error: BaseException) -> VisionjobsError:
    if isinstance(error, VisionjobsError):
        return error
    told = VisionjobsError(f"Ray Tune ended under the sweep: {type(error).__name__}: {first_line(error)}")
    told.__cause__ = error
    return told


class _Events(Callback):  # type: ignore[misc]  # Ray Tune has no types
    """What Tune tells, in its own thread."""

    def __init__(self, run: TuneRun) -> None:
        self._run = run

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._run.reported(result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._run.gone(trial.config["number"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._run.lost(trial.config["number"], why_lost(trial.error_file), "; it goes on in another process")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._run.lost(trial.config["number"], why_lost(trial.error_file))
        self._run.gone(trial.config["number"])


def _resources(workers: int, cpus: int, gpus: float) -> Any:
    """What Tune sets aside for a trial: its own process's, or next to nothing where it only drives Ray Train."""
    if workers > 1:
        return tune.PlacementGroupFactory([{"memory": 1 << 20}])
    return tune.PlacementGroupFactory([{"CPU": cpus} | ({"GPU": gpus} if gpus else {})])
