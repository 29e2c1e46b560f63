"""(c) What a checkpoint an epoch costs: ResNet-18, asynchronous checkpoints to a real S3 server on this machine.

A window is one epoch of training steps. In every other one a checkpoint is requested at the start, so that all of its
cost falls into the window: copying the state, and whatever writing it takes from the steps meanwhile (the server's own
work too, which elsewhere is another machine's).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from statistics import median

import torch

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, alternate, clock, column, device
from benchmarks.photos import draw_photos, first_of_each_class, real_photos
from benchmarks.s3_server import seaweedfs
from benchmarks.training import job, open_loop
from visionjobs.data.wildlife import import_wildlife
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run, open_run, run_ids
from visionjobs.storage import open_store
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.loop import Loop

GOAL = Goal("<=", 1.02)
PHOTOS = 1000
BATCH = 32
VAL_FRACTION = 0.2
WRITE_SECONDS = 300
"""A checkpoint that is not stored by then is taken for lost."""


def measure(plan: Plan) -> Measured:
    """ratio = seconds of an epoch's steps with a checkpoint / without; .02 more than 1 is the 2 % that may be lost."""
    size, steps = (32, 2) if plan.quick else (224, plan.steps)
    images = PHOTOS if steps is None else round(steps * BATCH / (1 - VAL_FRACTION))
    real = real_photos()
    if real.is_dir() and images <= PHOTOS:
        source, photos = first_of_each_class(real, plan.scratch / "photos", images), "photos"
    else:
        source, photos = draw_photos(plan.scratch / "photos", images), "drawn images"
    with seaweedfs(plan.scratch / "s3") as address:
        root = open_store(f"{address}/storage")
        plan.on_progress("importing", 0, 1)
        import_wildlife(str(source), "photos", root, size=(size, size), val_fraction=VAL_FRACTION)
        spec = job("resnet18", "photos", size=size, batch=BATCH, precision="auto")
        with open_loop(root, spec, plan.scratch / "cache") as loop:
            run = open_run(root, run_ids(root)[0])
            sides = {"with": partial(_window, loop, run), "without": partial(_window, loop, None)}
            rows = alternate(sides, plan.rounds, plan.on_progress, what=f"{loop.steps_per_epoch} steps")
            constant: Row = {
                "images": f"{images} {photos}", "size": size, "batch": BATCH, "steps": loop.steps_per_epoch,
                "precision": loop.setup.precision, "device": device().type, "threads": torch.get_num_threads(),
            }  # fmt: skip
    return Measured([constant | row for row in rows], [_compare(rows, f"{images} {photos}", constant)])


def _window(loop: Loop, run: Run | None) -> Row:
    """An epoch's steps; with a checkpoint before the first of them where the run is given into which it goes."""
    epoch = loop.step // loop.steps_per_epoch
    first_step = loop.step
    requested = datetime.now(UTC)
    started = clock(device())
    if run is not None:
        loop.checkpoint(epoch, None)
    held = time.perf_counter() - started
    loop.train_epoch(epoch)
    row: Row = {"seconds": clock(device()) - started, "held_seconds": held, "stored_after_seconds": 0.0}
    if run is not None:
        row["stored_after_seconds"] = (_stored(run, first_step) - requested).total_seconds()
    return row


def _stored(run: Run, step: int) -> datetime:
    """When the checkpoint of `step` was complete in storage; waits for it. By the server's clock."""
    deadline = time.monotonic() + WRITE_SECONDS
    while time.monotonic() < deadline:
        for info in list_checkpoints(run):
            if info.step == step:
                (manifest,) = (entry for entry in run.store.entries(info.key) if entry.key.endswith("manifest.json"))
                return manifest.modified
        time.sleep(0.2)
    raise VisionjobsError(f"{run.store.address}: the checkpoint of step {step} was not stored in {WRITE_SECONDS} s")


def _compare(rows: list[Row], images: str, constant: Row) -> Comparison:
    ours, other = column(rows, "with", "seconds"), column(rows, "without", "seconds")
    lost = [with_one / without - 1 for with_one, without in zip(ours, other, strict=True)]
    return Comparison(
        what="epoch with a checkpoint to S3 / without: resnet18",
        unit="s",
        ours=ours,
        other=other,
        goal=GOAL,
        note=f"lost {median(lost):.1%} ({min(lost):.1%} to {max(lost):.1%}) of an epoch's {constant['steps']} steps on "
        f"{images}, {constant['size']} px, batch {constant['batch']}; the loop is held up for "
        f"{median(column(rows, 'with', 'held_seconds')):.2f} s, stored after "
        f"{median(column(rows, 'with', 'stored_after_seconds')):.0f} s",
    )
