"""The section of a comparison's page on training: curves together, and what each run took."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from visionjobs.report.compare_figures import Curve, run_curves
from visionjobs.report.compare_pairs import breakable
from visionjobs.report.compare_results import within_a_line
from visionjobs.report.compare_runs import Compared
from visionjobs.report.formatting import decimal, duration, plain, signed
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import CurveFigure

BEST = "Best epoch: the one with the highest {score}; weights and figures are those of the end of training. "

GAPS = (
    "Gaps are of the last epoch, and above zero mean better on what was trained on: loss, validation less training, "
    "{loss}; {gap}, training less validation. Training figures are means over an epoch, augmented {unit} included, "
    "while the weights changed. "
)

SPEED = "Images/s: in training, over all workers and epochs. "

TIME = "Time: of all attempts."


def training(compared: Compared) -> Section:
    """What each run took; where any of them trains, its curves, best epoch and gaps too."""
    columns = dict(_columns(compared))
    rows = tuple(
        (Cell(breakable(label)), *(Cell(show(run)) for show in columns.values()))
        for run, label in zip(compared.runs, compared.labels, strict=True)
    )
    heads = (Column("Run", numeric=False), *(Column(head, numeric=head != "Model") for head in columns))
    drawn = [tuple(_curves(compared, curve)) for curve in compared.task.curves]
    galleries = (Gallery(figures) for figures in drawn if figures)
    title = "Training" if compared.trains else "Models and time"
    return Section("training", title, (*galleries, Table(title, heads, rows), Text(_told(compared))))


def _columns(compared: Compared) -> Iterator[tuple[str, Callable[[RunSummary], str]]]:
    """Heading -> how a run's value is shown."""
    yield "Model", lambda run: plain(run.setting("model.name"))
    if compared.trains:
        yield "Epochs", lambda run: plain(compared.epochs(run))
        yield "Best epoch", lambda run: plain(run.best_epoch(compared.task.score))
        if gap := compared.kind.gap:
            yield "Loss gap", lambda run: signed(compared.gaps(run)["loss"])
            yield f"{gap.title} gap", lambda run: signed(compared.gaps(run)[gap.score])
        yield "Images/s", lambda run: decimal(compared.images_per_second(run), 1)
    yield "Time", lambda run: duration(_seconds(run))
    yield "GPU-hours", lambda run: plain(run.record.get("gpu_hours"))


def _told(compared: Compared) -> str:
    if not compared.trains:
        return f"Nothing is trained: each run evaluates the weights that its job names. {TIME}"
    gap, unit = compared.kind.gap, compared.task.unit
    gaps = GAPS.format(loss=gap.loss, gap=within_a_line(gap.title), unit=unit) if gap else ""
    return f"{BEST.format(score=compared.task.score_name)}{gaps}{SPEED}{TIME}"


def _seconds(run: RunSummary) -> float | None:
    """Of all attempts."""
    found = [seconds for item in run.attempts if (seconds := as_number(item.get("seconds"))) is not None]
    return sum(found) if found else None


def _curves(compared: Compared, wanted: CurveFigure) -> Iterator[Figure]:
    """Validation before training, each with the runs that have it."""
    for line, key in sorted(wanted.lines.items(), reverse=True):
        curves = {}
        for run, label in zip(compared.runs, compared.labels, strict=True):
            values = [as_number(row.get(key)) for row in run.history]
            epochs = [row["epoch"] + 1 for row in run.history]
            curves[label] = Curve(epochs, values, run.best_epoch(compared.task.score))
        if any(value is not None for curve in curves.values() for value in curve.values):
            png = run_curves(curves, f"{line} {wanted.ylabel}", wanted.limits)
            caption = f"{line[0].upper()}{line[1:]} {wanted.ylabel} by epoch; the ring marks each run's best epoch"
            yield Figure(f"{wanted.name}_{re.sub('[^a-z0-9]+', '_', line.lower())}", png, caption)
