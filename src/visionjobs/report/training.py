"""The section on training: curves, and the table of epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from visionjobs.report import figures
from visionjobs.report.formatting import count, decimal, duration, memory, percent, plain
from visionjobs.report.page import Block, Bullets, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import CurveFigure, TaskReport

THROUGHPUT = CurveFigure(
    "throughput", "Training throughput by epoch", "images per second", {"all workers": "images_per_second"}, (0.0, None)
)

RATE = CurveFigure(
    "learning_rate", "Learning rate of each epoch's last step", "learning rate", {"rate": "lr"}, (0.0, None)
)

EXPLAINED = (
    "Images/s: in training, over all workers. Waiting: the share of the training time spent waiting for data. Peak "
    "memory: of the device or, on a CPU, of the process. Time: of training alone."
)


def _rate(value: float | None) -> str:
    return decimal(value, 1) if value is not None and value < 100 else count(value)


def _short(value: float | None) -> str:
    return plain(value if value is None else float(f"{value:.3g}"))


SPEED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("images_per_second", "Images/s", _rate),
    ("data_wait_share", "Waiting", percent),
    ("gpu_utilisation", "GPU use", percent),
    ("peak_memory_bytes", "Peak memory", memory),
    ("seconds", "Time", duration),
)
"""The columns that every task's history has: key, heading, how a value is shown."""


def training(run: RunSummary, task: TaskReport) -> Section | None:
    """Curves of the task's columns and of throughput, the table of epochs, and what slowed an epoch down; None where
    the job does not train."""
    if not run.trains:
        return None
    if not run.history:
        return Section("training", "Training", (Text("No epoch was completed."),))
    drawn = tuple(_curves(run, task))
    diagnoses = tuple(f"Epoch {row['epoch'] + 1}: {row['diagnosis']}" for row in run.history if row.get("diagnosis"))
    blocks: list[Block] = [Gallery(drawn)] if drawn else []
    blocks += [_epochs(run, task), Text(f"{task.columns_explained} {EXPLAINED}")]
    if diagnoses:
        blocks.append(Bullets(diagnoses))
    return Section("training", "Training", tuple(blocks))


def _curves(run: RunSummary, task: TaskReport) -> Iterator[Figure]:
    """A figure each, without the lines that have no value at all; none where no line has one."""
    epochs, best = [row["epoch"] + 1 for row in run.history], run.best_epoch(task.score)
    rates = {as_number(row.get("lr")) for row in run.history}
    for wanted in (*task.curves, *((RATE,) if len(rates) > 1 else ()), THROUGHPUT):
        lines = {label: [as_number(row.get(key)) for row in run.history] for label, key in wanted.lines.items()}
        lines = {label: values for label, values in lines.items() if any(value is not None for value in values)}
        if not lines:
            continue
        marked = best if wanted in task.curves else None
        told = "" if marked is None else f"; best epoch (highest {task.score_name}): {marked}"
        png = figures.curves(epochs, lines, wanted.ylabel, marked, wanted.limits)
        yield Figure(wanted.name, png, f"{wanted.caption}{told}")


def _epochs(run: RunSummary, task: TaskReport) -> Table:
    rate = (("lr", "Learning rate", _short),) if any(row.get("lr") is not None for row in run.history) else ()
    shown = (*((key, heading, decimal) for key, heading in task.columns.items()), *rate, *SPEED)
    return Table(
        "Epochs",
        (Column("Epoch"), *(Column(heading) for _, heading, _ in shown)),
        tuple(
            (Cell(str(row["epoch"] + 1)), *(Cell(show(row.get(key))) for key, _, show in shown)) for row in run.history
        ),
    )
