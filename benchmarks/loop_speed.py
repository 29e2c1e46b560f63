"""(a) Training speed of the loop against a plain PyTorch loop over preloaded tensors.

Model, optimiser, memory format, threads, precision and batch are the same. The loop draws its order, gathers and
normalises its uint8 images, counts its metrics, seeds each step and notes its progress; the plain one finds normalised
float batches in memory and does nothing but train.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, alternate, clock, column, device
from benchmarks.photos import draw_photos
from benchmarks.training import job, open_loop
from visionjobs.data.loader import Images, Normaliser
from visionjobs.data.order import batch_plan, epoch_order
from visionjobs.data.wildlife import import_wildlife
from visionjobs.models import build_model
from visionjobs.spec import JobSpec
from visionjobs.storage import open_store
from visionjobs.training.loop import Loop

GOAL = Goal(">=", 0.98)
VAL_FRACTION = 0.2


@dataclass(frozen=True)
class Case:
    """One model at one precision; a round is an epoch of `steps` steps."""

    model: str
    precision: str
    steps: int
    batch: int = 32
    size: int = 224


def cases(on: torch.device, quick: bool) -> list[Case]:
    """Some 15 s a round and side on 2 cores, some 2 s on a GPU."""
    if quick:
        return [Case("convnet", "fp32", steps=2, size=32)]
    if on.type == "cpu":
        return [Case("convnet", "fp32", steps=12), Case("resnet18", "fp32", steps=4)]
    return [Case(model, precision, steps=200) for model in ("convnet", "resnet18") for precision in ("fp32", "bf16")]


def measure(plan: Plan) -> Measured:
    """ratio = images/s of the loop / images/s of the plain loop."""
    rows: list[Row] = []
    comparisons = []
    for case in cases(device(), plan.quick):
        found = _measure_case(case, plan)
        rows += found
        comparisons.append(
            Comparison(
                what=f"training loop / plain PyTorch loop: {case.model}, {case.precision}",
                unit="images/s",
                ours=column(found, "loop", "images_per_second"),
                other=column(found, "plain", "images_per_second"),
                goal=GOAL,
                note=f"{case.size} px, batch {case.batch}, channels_last, fused Adam, {case.steps} steps a round, "
                f"{device().type} with {torch.get_num_threads()} threads; the plain loop's tensors are preloaded",
            )
        )
    return Measured(rows, comparisons)


def _measure_case(case: Case, plan: Plan) -> list[Row]:
    folder = plan.scratch / f"{case.model}-{case.precision}"
    plan.on_progress(f"{case.model} {case.precision}: drawing and importing images", 0, 1)
    source = draw_photos(folder / "source", round(case.steps * case.batch / (1 - VAL_FRACTION)))
    root = open_store(str(folder / "storage"))
    size = (case.size, case.size)
    import_wildlife(str(source), "drawn", root, size=size, val_fraction=VAL_FRACTION)
    spec = job(case.model, "drawn", size=case.size, batch=case.batch, precision=case.precision)
    with open_loop(root, spec, folder / "cache") as loop:
        sides = {"loop": lambda: _epoch(loop), "plain": _plain_side(spec, loop)}
        rows = alternate(
            {name: _timed(side, loop.steps_per_epoch * case.batch) for name, side in sides.items()},
            plan.rounds, plan.on_progress, what=f"{case.model} {case.precision}",
        )  # fmt: skip
    constant: Row = {
        "model": case.model, "precision": case.precision, "size": case.size, "batch": case.batch,
        "steps": loop.steps_per_epoch, "device": device().type, "threads": torch.get_num_threads(),
    }  # fmt: skip
    return [constant | row for row in rows]


def _timed(train: Callable[[], None], images: int) -> Callable[[], Row]:
    def timed() -> Row:
        started = clock(device())
        train()
        seconds = clock(device()) - started
        return {"seconds": seconds, "images_per_second": images / seconds}

    return timed


def _epoch(loop: Loop) -> None:
    loop.train_epoch(loop.step // loop.steps_per_epoch)


def _plain_side(spec: JobSpec, loop: Loop) -> Callable[[], None]:
    """An epoch of the plain loop, with a model of its own that starts from the same weights."""
    on = device()
    model = build_model(spec, len(loop.setup.task.classes), None)
    model = model.to(device=on, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=spec.train.lr, fused=True)
    batches = _preloaded(spec, loop.setup.train)

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast(on.type, dtype=torch.bfloat16) if spec.train.precision == "bf16" else nullcontext()

    def train() -> None:
        model.train()
        for images, labels in batches:
            with autocast():
                outputs = model(images)
            loss = F.cross_entropy(outputs.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return train


def _preloaded(spec: JobSpec, images: Images) -> list[tuple[Tensor, Tensor]]:
    """The batches of the first epoch as normalised floats on the device, NCHW in channels_last memory."""
    normalise = Normaliser((spec.data.size[0], spec.data.size[1]), device())
    order = batch_plan(epoch_order(len(images), 0, spec.train.seed, 0), spec.train.batch, 0, 1)
    return [(normalise(batch.images).clone(), batch.targets) for batch in images.batches(order)]
