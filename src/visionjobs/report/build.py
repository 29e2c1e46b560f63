"""RunSummary -> the files of a run's report folder. A pure function: no storage, no device, no clock."""

from __future__ import annotations

from pathlib import PurePosixPath

from visionjobs.errors import UserError
from visionjobs.report import classification, detection, segmentation
from visionjobs.report.formatting import count, plain
from visionjobs.report.html import render
from visionjobs.report.page import Page
from visionjobs.report.provenance import notes, provenance
from visionjobs.report.results import results
from visionjobs.report.summary import RunSummary
from visionjobs.report.training import training

PAGE = "report.html"

TASKS = {
    "classification": classification.REPORT,
    "segmentation": segmentation.REPORT,
    "detection": detection.REPORT,
}


def build_report(run: RunSummary) -> dict[str, bytes]:
    """Path relative to the run's report folder -> contents: report.html and figures/*.png.

    Raises UserError where no report is known for the run's task.
    """
    page = build_page(run)
    files = {f"figures/{figure.name}.png": figure.png for figure in page.figures()}
    return {PAGE: render(page).encode("utf-8"), **files}


def _model(run: RunSummary) -> str:
    """Its name; of weights that were given and not trained, the file too: it alone decides what was measured."""
    name, weights = plain(run.setting("model.name")), plain(run.setting("model.weights"))
    file = "" if run.trains or run.of_file else PurePosixPath(weights).name
    return f"{name} ({file})" if file else name


def build_page(run: RunSummary) -> Page:
    """The report as a page, not drawn yet."""
    if run.task not in TASKS:
        raise UserError(f"run {run.run}: no report is known for the task {run.task!r}; known: {', '.join(TASKS)}")
    task = TASKS[run.task]
    trained_on = (plain(run.setting("data.name")), plain(run.setting("data.version")))
    measured = f"{count(task.samples(run))} {task.unit} of the split {plain(run.metrics.get('split'))}"
    if run.measured_on != trained_on:
        measured += f" of {' '.join(run.measured_on)}"
    subtitle = (
        f"{_model(run)} on {trained_on[0]}",
        f"version {trained_on[1]}",
        measured if run.values else "not evaluated yet",
        *((f"run {run.run}",) if not run.of_file else ()),
    )
    sections = (
        notes(run, task.remarks(run), task.unit),
        task.results(run) if task.results else results(run, task),
        training(run, task),
        *task.sections(run),
        provenance(run),
    )
    evaluated = f": {run.metrics['split']} of {run.measured_on[0]}" if "evaluated" in run.metrics else ""
    return Page(
        f"{run.job}{evaluated}",
        subtitle,
        task.tiles(run),
        tuple(section for section in sections if section is not None),
    )
