"""A sweep of the tiny job that has ended: trials trained in this process, and all that its driver writes. Tests of what
is there work on copies of the storage."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tiny import pytest_fail
from tiny_sweep import start_sweep, trained

from visionjobs.runs import Attempt
from visionjobs.storage import open_store
from visionjobs.sweep_progress import SweepProgress
from visionjobs.sweeps import Stopped, Sweep, Trial, sweep_at, sweep_ids
from visionjobs.tuning import driver
from visionjobs.tuning.finisher import Finisher
from visionjobs.tuning.mirrors import Mirrors
from visionjobs.tuning.suggest import Trialling
from visionjobs.tuning.watch import SweepWatcher

RATES = (1e-3, 5e-3, 2e-4)
"""Of the trials: the first two are complete, the last one was stopped after an epoch."""


def make_sweep(folder: Path) -> None:
    """A storage in `folder`, with a sweep of three trials that is complete."""
    common = start_sweep(folder, "sweep.trials=3")
    holder = begin(common)
    complete(common, *[trained(common, number, lr) for number, lr in enumerate(RATES[:2])])
    stop_early(common, trained(common, 2, RATES[2], stop_after=1))
    end(common, holder)


def begin(common: Trialling) -> Attempt:
    """The sweep's next attempt, recorded as its driver does."""
    holder = common.sweep.folder.claim("attempt", driver._info(common.trials))
    driver._record_start(holder, common.spec)
    return holder


def complete(common: Trialling, *trials: Trial) -> None:
    """What follows the training of trials."""
    mirrors = Mirrors(common.sweep, None, pytest_fail)
    with closing(Finisher(common.sweep, common.settings.cache, mirrors, pytest_fail, lambda _: None)) as finisher:
        for trial in trials:
            finisher.put(trial)


def stop_early(common: Trialling, trial: Trial) -> None:
    """As the scheduler decides after the first epoch."""
    value = common.sweep.run_of(trial).history()[0]["val_loss"]
    common.sweep.stop_early(trial, Stopped(1, value, value - 0.1))


def end(common: Trialling, holder: Attempt) -> SweepProgress:
    """What the attempt does at its end; how far the sweep is then."""
    told: list[SweepProgress] = []
    watcher = SweepWatcher(lambda *_: None, told.append, pytest_fail, lambda _: None, lambda *_: lambda _: None)
    driver._end(common.sweep, holder, watcher, {})
    return told[-1]


def the_sweep(folder: Path) -> Sweep:
    """The only sweep in the storage in `folder`."""
    root = open_store(str(folder / "storage"))
    (sweep_id,) = sweep_ids(root)
    return sweep_at(root, sweep_id)
