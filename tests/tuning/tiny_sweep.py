"""A sweep of the tiny job, whose trials train in this process: as trial.py has them, without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny import ending, tiny_root, tiny_spec

from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share, Trials
from visionjobs.data.catalog import find_dataset
from visionjobs.errors import StoppedError
from visionjobs.runs import Run
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.sweeps import Sweep, Trial, create_sweep
from visionjobs.tracking.mirror import Off
from visionjobs.training.driver import pin_inputs, train_run
from visionjobs.training.in_process import trains_here
from visionjobs.training.place import Place
from visionjobs.training.predict_boxes import stream_here
from visionjobs.training.recorder import Link
from visionjobs.training.watch import Watcher
from visionjobs.tuning.suggest import Trialling

SECTION = "sweep={metric: val_loss, trials: 4, space: {train.lr: {loguniform: [1e-4, 1e-2]}}}"
SHARE = Share(1, 1, 0)


def sweep_spec(*sets: str) -> JobSpec:
    """The tiny job with a search of its learning rate."""
    return tiny_spec("wandb.mode=off", SECTION, *sets)


def start_sweep(folder: Path, *sets: str) -> Trialling:
    """A new sweep in a storage in `folder`, without trials."""
    root, spec = tiny_root(folder), sweep_spec(*sets)
    spec = pin_inputs(root, spec, ending(root).cache).model_copy(update={"sweep": spec.sweep})
    dataset = find_dataset(root, spec.data.name, spec.data.version).manifest.model_dump_json()
    return trialling(root, spec, create_sweep(root, spec, dataset))


def trialling(root: Store, spec: JobSpec, sweep: Sweep) -> Trialling:
    """What the trials of an attempt of `sweep` have in common."""
    settings = Settings.from_env({"VISIONJOBS_STORAGE": root.address, "VISIONJOBS_CACHE": str(ending(root).cache)})
    dataset = find_dataset(root, spec.data.name, spec.data.version).manifest.model_dump_json()
    return Trialling(sweep, spec, dataset, settings, Trials(1, SHARE, 1))


def made(common: Trialling, number: int, lr: float = 1e-3) -> Trial:
    """A new trial, with its run."""
    trial = common.sweep.add_trial(number, {"train.lr": lr})
    common.work(trial)
    return trial


def trained(common: Trialling, number: int, lr: float = 1e-3, stop_after: int | None = None) -> Trial:
    """A new trial that was trained to its end, or told to stop after so many epochs."""
    trial = made(common, number, lr)
    train(common, trial, stop_after)
    return trial


def train(common: Trialling, trial: Trial, stop_after: int | None = None) -> Run:
    """An attempt of the trial, as its process makes one: it leaves its outcome for the sweep's driver."""
    run, rows = common.sweep.run_of(trial), []

    def asked() -> str | None:
        if stop_after is None:
            return None
        time.sleep(0.05)  # after each step: an epoch's row is stored by then
        return "enough" if len(rows) >= stop_after else None

    link = Link(rows.append, asked)
    place = Place(
        connect=_no_ray, share=lambda *_: (SHARE, None), keeps_logs=False, train=trains_here(link), stream=stream_here,
        mirror=lambda *_: Off(), completes=False,
    )  # fmt: skip
    watcher = Watcher(*[lambda *_: None] * 5)
    try:
        train_run(common.settings, common.sweep.root, run.spec_now(), run, watcher, place=place)
    except StoppedError:
        assert stop_after is not None
    return run


@contextmanager
def _no_ray(_: Settings) -> Iterator[Connection]:
    yield Connection(False, "", Resources(1, 0))
