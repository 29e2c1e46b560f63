"""RunSummary -> the files of a run's report folder. A pure function: no storage, no device, no clock."""

from __future__ import annotations

from visionjobs.errors import UserError
from visionjobs.report import classification
from visionjobs.report.formatting import count, plain
from visionjobs.report.html import render
from visionjobs.report.page import Page
from visionjobs.report.sections import notes, provenance, results, training
from visionjobs.report.summary import RunSummary

TASKS = {"classification": classification}
"""Task -> the module with its METRICS, tiles, samples, remarks and sections."""


def build_report(run: RunSummary) -> dict[str, bytes]:
    """Path relative to the run's report folder -> contents: report.html and figures/*.png.

    Raises UserError where no report is known for the run's task.
    """
    page = build_page(run)
    files = {f"figures/{figure.name}.png": figure.png for figure in page.figures()}
    return {"report.html": render(page).encode("utf-8"), **files}


def build_page(run: RunSummary) -> Page:
    """The report as a page, not drawn yet."""
    name = run.metrics.get("task") or run.spec.get("task")
    if name not in TASKS:
        raise UserError(f"run {run.run}: no report is known for the task {name!r}; known: {', '.join(TASKS)}")
    task = TASKS[name]
    version = run.record.get("dataset_version") or run.setting("data.version")
    measured = f"{count(task.samples(run))} samples of the split {plain(run.metrics.get('split'))}"
    subtitle = (
        f"{plain(run.setting('model.name'))} on {plain(run.setting('data.name'))}, version {plain(version)}",
        measured if run.values else "not evaluated yet",
        f"run {run.run}",
    )
    sections = (
        notes(run, list(task.remarks(run))),
        results(run, task.METRICS),
        training(run),
        *task.sections(run),
        provenance(run),
    )
    return Page(run.job, subtitle, task.tiles(run), tuple(s for s in sections if s is not None))
