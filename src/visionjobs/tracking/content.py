"""What of a run goes to wandb, and under which key: a pure function of what its folder holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from visionjobs.report.build import TASKS
from visionjobs.report.detection_metrics import metrics_at
from visionjobs.report.floors import floors
from visionjobs.report.summary import Row, RunSummary, as_number
from visionjobs.runs import Run
from visionjobs.spec import JobSpec, flatten
from visionjobs.tracking import content_classification, content_detection, content_segmentation
from visionjobs.tracking.messages import Chart, Final, Picture, Table

FIGURES = "report/figures"
"""Where a run keeps the figures of its report."""


@dataclass(frozen=True)
class TaskContent:
    """What a task adds: tables and pictures by wandb's key (a key without any is left out), and charts."""

    tables: Callable[[RunSummary], Mapping[str, Table]]
    charts: Callable[[RunSummary], Iterator[Chart]]
    pictures: Callable[[RunSummary], Mapping[str, tuple[Picture, ...]]]


CONTENTS = {
    "classification": TaskContent(
        content_classification.tables, content_classification.charts, content_classification.pictures
    ),
    "segmentation": TaskContent(
        content_segmentation.tables, content_segmentation.charts, content_segmentation.pictures
    ),
    "detection": TaskContent(content_detection.tables, content_detection.charts, content_detection.pictures),
}  # fmt: skip


def config(run: Run, spec: JobSpec) -> dict[str, Any]:
    """The resolved spec, with the version of the dataset and that of the newest attempt's code beside it."""
    codes = [claim.info["code"] for claim in run.claims() if "code" in claim.info]
    dataset = run.dataset() or {}
    return spec.model_dump(mode="json") | {
        "dataset_version": dataset.get("version", spec.data.version),
        "code": codes[-1] if codes else None,
    }


def epoch_row(row: Row) -> dict[str, float]:
    """The numbers of a history row; `epoch` from 1, as in the report. What does not exist is left out."""
    numbers = {key: as_number(value) for key, value in row.items()}
    return {key: value for key, value in numbers.items() if value is not None} | {"epoch": row["epoch"] + 1}


def read_figures(run: Run) -> dict[str, bytes]:
    """The figures of the run's report: `report/<name>` -> PNG."""
    paths = [PurePosixPath(entry.key) for entry in run.store.entries(FIGURES)]
    return {f"report/{path.stem}": run.store.read(str(path)) for path in paths if path.suffix == ".png"}


def final(run: RunSummary, figures: Mapping[str, bytes]) -> Final:
    """All that a complete run ends with; a part that the run does not have is left out."""
    metrics = {key: as_number(value) for key, value in flatten(dict(run.values)).items()}
    task = CONTENTS.get(run.task)
    tables, charts, pictures = (task.tables(run), task.charts(run), task.pictures(run)) if task else ({}, (), {})
    return Final(
        metrics={key: value for key, value in metrics.items() if value is not None},
        tables={"results": _results(run), **{key: table for key, table in tables.items() if table.rows}},
        charts={chart.title.replace(" ", "_"): chart for chart in charts},
        pictures={key: shown for key, shown in pictures.items() if shown},
        figures=dict(figures),
    )


def _results(run: RunSummary) -> Table:
    """Ours beside the published figures. low, high: ends of the confidence interval; difference: ours less theirs."""
    task = TASKS.get(run.task)
    known = metrics_at(floors(run)) or (task.metrics if task else ())
    titles = {
        metric.key: metric.title
        for metric in known
        if not metric.optional or run.value(metric.key) is not None or metric.key in run.published
    }
    titles |= {key: key for key in run.published if key not in titles}
    rows = []
    for key, title in titles.items():
        ours, published = run.value(key), run.published.get(key, {})
        theirs = as_number(published.get("value"))
        low, high = run.interval(key) or (None, None)
        difference = None if ours is None or theirs is None else ours - theirs
        rows.append((title, ours, low, high, theirs, difference, published.get("source")))
    return Table(("metric", "ours", "low", "high", "published", "difference", "source"), tuple(rows))
