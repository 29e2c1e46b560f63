"""The real training loop, set up as a worker sets it up, for benchmarks to call an epoch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import device
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.jobfile import build_spec
from visionjobs.runs import create_run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.training.loop import Loop
from visionjobs.training.recorder import Recorder
from visionjobs.training.setup import set_up
from visionjobs.training.worker import Worker


def job(model: str, dataset: str, *, size: int, batch: int, precision: str) -> JobSpec:
    """A job for `model` with random weights; size: height and width in pixels."""
    tree = {
        "name": "benchmark",
        "task": "classification",
        "model": {"name": model},
        "data": {"name": dataset, "size": [size, size]},
        "train": {"batch": batch, "precision": precision},
    }
    return build_spec(tree, "the benchmark's job")


@contextmanager
def open_loop(root: Store, spec: JobSpec, cache: Path) -> Iterator[Loop]:
    """A loop at step 0 on the dataset in `root`, whose progress and checkpoints go to a new run there.

    Leaving it waits for what is still being written; raises the first error that a write met.
    """
    found = find_dataset(root, spec.data.name)
    dataset = fetch(found, cache)
    setup = set_up(spec, dataset, None, Worker(0, 1, device()))
    setup.connect()
    loop = Loop(setup)
    attempt = create_run(root, spec, found.manifest.model_dump_json()).claim("attempt", {})
    plan = {"epochs": spec.train.epochs, "steps_per_epoch": loop.steps_per_epoch}
    loop.recorder = Recorder(attempt, cache / "checkpoints", plan, 0)
    try:
        yield loop
    finally:
        loop.recorder.close()
