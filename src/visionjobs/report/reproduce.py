"""One table for all experiments: each job's published figures beside those of its run. A pure function, as build.py.

It asks a run for nothing but the keys that its job file publishes, so that another task adds rows by its job files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visionjobs.report import reproduce_page
from visionjobs.report.build import TASKS
from visionjobs.report.compare_page import lies_within
from visionjobs.report.compare_runs import dataset_of
from visionjobs.report.html import render
from visionjobs.report.reproduce_page import FOR_READERS, Reproduced, Row, metric_of
from visionjobs.report.results import of_sample
from visionjobs.report.summary import as_number

PAGE = "reproduce.html"
TABLE = "reproduce.csv"
NUMBERS = "reproduce.json"

IGNORED = ("resources", "limits", "wandb", "published", "sweep")
"""Sections in which a run may differ from the job file that it stands for: they change nothing of the experiment."""


def differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (the job file's value, the run's), for the keys that make it another experiment.

    Both are flat (spec.flatten). What a run pins when it begins (dataset version, weights file) counts only
    where the job file pins it too.
    """
    pairs = {key: (wanted.get(key), found.get(key)) for key in sorted(wanted.keys() | found.keys())}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not _agree(key, *pair)}


def _agree(key: str, wanted: Any, found: Any) -> bool:
    match key:
        case "data.version":
            return bool(wanted == "newest")
        case "model.sha256":
            return wanted is None
        case "model.weights":  # a file of this machine is pinned to its full path
            return isinstance(wanted, str) and str(Path(wanted).expanduser().absolute()) == found
        case _:
            return any(key == name or key.startswith(f"{name}.") for name in IGNORED)


def build_reproduction(results: Sequence[Reproduced], created: str) -> dict[str, bytes]:
    """Path relative to the table's folder -> contents: reproduce.html, .csv, .json and figures/*.png.

    `created`: the time in UTC, told on the page.
    """
    rows = table_rows(results)
    page = reproduce_page.build_page(results, rows, created)
    numbers = {"schema": 1, "created": created, "rows": [_plain(row) for row in rows]}
    figures = {f"figures/{figure.name}.png": figure.png for figure in page.figures()}
    return {
        PAGE: render(page).encode("utf-8"),
        TABLE: _csv(rows).encode("utf-8"),
        NUMBERS: json.dumps(numbers, indent=1, allow_nan=False).encode("utf-8"),
        **figures,
    }


def table_rows(results: Sequence[Reproduced]) -> list[Row]:
    """A row a job and published figure, in the order of the jobs."""
    return [row for result in results for row in _rows(result)]


def _rows(result: Reproduced) -> Iterator[Row]:
    run = result.run
    dataset, version = dataset_of(run) if run else (None, None)
    for key, figure in result.published.items() or ((None, {}),):
        ours = run.value(key) if run and key else None
        theirs = as_number(figure.get("value"))
        ends = run.interval(key) if run and key else None
        comparable = theirs if run and not of_sample(run) else None
        metric = metric_of(result.task, key)
        yield Row(
            job=result.job,
            metric=key,
            title=metric.title if metric else key,
            digits=metric.digits if metric else 4,
            published=theirs,
            source=figure.get("source"),
            ours=ours,
            interval_low=ends[0] if ends else None,
            interval_high=ends[1] if ends else None,
            difference=None if ours is None or comparable is None else ours - comparable,
            published_within_interval=lies_within(comparable, ends),
            samples=TASKS[run.task].samples(run) if run else None,
            dataset=dataset,
            version=version,
            run=run.run if run else None,
            epochs=run.setting("train.epochs") if run else None,
            state=_state(result, key, ours),
        )


def _state(result: Reproduced, key: str | None, ours: float | None) -> str:
    if result.problem:
        return result.problem
    return "complete" if ours is not None else f"the run has no metric {key}"


def _plain(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key not in FOR_READERS}


def _csv(rows: Sequence[Row]) -> str:
    """With a header line; what does not exist is an empty cell."""
    text = io.StringIO()
    names = [name for name in Row.__dataclass_fields__ if name not in FOR_READERS]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_plain, rows))
    return text.getvalue()
