"""The page of the table that `visionjobs reproduce` makes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.data.catalog import SAMPLE_SUFFIX
from visionjobs.report.build import TASKS
from visionjobs.report.compare_figures import Score, score_bars
from visionjobs.report.compare_pairs import breakable, interval_line
from visionjobs.report.detection_metrics import metrics_at
from visionjobs.report.formatting import NOT_AVAILABLE, count, decimal, moment, plain, signed
from visionjobs.report.page import Block, Bullets, Cell, Column, Figure, Gallery, Page, Section, Table, Text, Tile
from visionjobs.report.results import difference_cell, percent_level
from visionjobs.report.summary import RunSummary
from visionjobs.report.task import Metric

SAMPLE = "Drawn sample: figures do not compare"

FOR_READERS = ("title", "digits")
"""Fields of a row that only tell how a page shows it."""

FLOOR = re.compile(r"floors\.(.+?)\.[a-z]")
"""How the keys of metrics at a confidence floor begin."""

POINTS = ".tide."
"""In the key of a metric: it is in points, 0 to 100, and not a share or a loss."""


@dataclass(frozen=True)
class Reproduced:
    """What became of one job. published: metric key -> {"value", "source"}, as the job file has it now; run: the
    finished run that stands for it, None without; problem: why there is none, in words ("" where there is one)."""

    job: str
    task: str
    published: Mapping[str, Mapping[str, Any]]
    run: RunSummary | None = None
    problem: str = ""


@dataclass(frozen=True)
class Row:
    """One published figure and ours. None is what does not exist; metric is None for a job file that cannot be read.

    interval_*: our confidence interval; difference: ours less published, None for a drawn sample, as is
    published_within_interval; samples: evaluated ones; digits: decimals of the figures.
    """

    job: str
    metric: str | None
    title: str | None
    published: float | None
    source: str | None
    ours: float | None
    interval_low: float | None
    interval_high: float | None
    difference: float | None
    published_within_interval: bool | None
    samples: int | None
    dataset: str | None
    version: str | None
    run: str | None
    epochs: int | None
    state: str
    digits: int = 4

    @property
    def in_points(self) -> bool:
        """Whether the figures are in points, 0 to 100."""
        return POINTS in (self.metric or "")

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends."""
        low, high = self.interval_low, self.interval_high
        return None if low is None or high is None else (low, high)

    @property
    def of_sample(self) -> bool:
        """Whether the run is of a drawn sample."""
        return bool(self.dataset and self.dataset.endswith(SAMPLE_SUFFIX))


def metric_of(task: str, key: str | None) -> Metric | None:
    """What is known of a metric of this task, None where it is neither of its report's nor one of them at a floor."""
    floor = FLOOR.match(key or "")
    known = metrics_at(floor.groups()) if floor else TASKS[task].metrics if task in TASKS else ()
    return next((metric for metric in known if metric.key == key), None)


def build_page(results: Sequence[Reproduced], rows: Sequence[Row], created: str) -> Page:
    """The whole page, not drawn yet."""
    jobs = f"{len(results)} {'job' if len(results) == 1 else 'jobs'}"
    sections = (_notes(results, rows), _table(results, rows), _runs(results))
    return Page(
        "Published figures and ours",
        (jobs, f"{len(rows)} {'figure' if len(rows) == 1 else 'figures'}", f"made {moment(created)}"),
        tuple(_tiles(results, rows)),
        tuple(section for section in sections if section is not None),
    )


def _tiles(results: Sequence[Reproduced], rows: Sequence[Row]) -> Iterator[Tile]:
    yield Tile("Jobs with a finished run", f"{sum(result.run is not None for result in results)} of {len(results)}")
    measured = sum(row.ours is not None for row in rows)
    yield Tile("Figures measured", f"{measured} of {len(rows)}", "by a finished run")
    judged = [row.published_within_interval for row in rows if row.published_within_interval is not None]
    inside = f"{sum(judged)} of {len(judged)}" if judged else NOT_AVAILABLE
    yield Tile("Within our interval", inside, "published figures, real data")
    compared = [row for row in rows if row.difference is not None]
    largest = max(compared, key=lambda row: abs(row.difference or 0.0) / (100 if row.in_points else 1), default=None)
    value, whose = (signed(largest.difference, largest.digits), _name(largest)) if largest else (NOT_AVAILABLE, "")
    yield Tile("Largest difference", value, whose)


def _name(row: Row) -> str:
    return f"{row.job}: {row.title}" if row.title else row.job


def _notes(results: Sequence[Reproduced], rows: Sequence[Row]) -> Section | None:
    items = [f"{result.job}: {result.problem}" for result in results if result.problem]
    items += dict.fromkeys(
        f"{row.job}: the dataset {row.dataset} is a drawn sample; its figures and the published ones, which are of "
        "real data, do not compare."
        for row in rows
        if row.of_sample
    )
    return Section("notes", "Notes", (Bullets(tuple(items), warning=True),)) if items else None


def _table(results: Sequence[Reproduced], rows: Sequence[Row]) -> Section:
    numbers = ("Published", "Ours", "Difference", "Published lies in our interval", "Samples")
    columns = (
        Column("Job and metric", numeric=False),
        *map(Column, numbers),
        Column("Dataset", numeric=False),
        Column("Run", numeric=False),
        Column("Epochs"),
    )
    tasks = {result.job: result.task for result in results}
    cells = tuple(_cells(row, metric_of(tasks[row.job], row.metric)) for row in rows)
    table = Table("Published and ours", columns, cells)
    with_intervals = [result.run for result in results if result.run and result.run.values.get("intervals")]
    level = percent_level(with_intervals[0]) if with_intervals else ""
    small = f"Small figures below ours: {level} confidence intervals over the evaluated samples. " if level else ""
    told = Text(
        f"{small}Difference: ours less the published figure. Ours: by the newest finished run whose settings are those "
        "of the job file, measured with the weights at the end of training or, where a job trains nothing (epochs 0), "
        "with those that it names. An interval tells how far a figure hangs on which samples were evaluated, not on "
        "the draws of the training."
    )
    blocks: list[Block] = [table, told, *_definitions(rows, tasks)]
    figures = tuple(_figures(rows, level))
    blocks += [Gallery(figures)] if figures else []
    return Section("figures", "Published and ours", tuple(blocks))


def _figures(rows: Sequence[Row], level: str) -> Iterator[Figure]:
    """What is in points has a figure of its own: beside it, shares would be too short to be seen."""
    for name, unit, in_points in (("published_and_ours", "value", False), ("points", "points", True)):
        drawn = [row for row in rows if row.ours is not None and row.in_points == in_points]
        if drawn:
            scores = [
                Score(_name(row), row.ours, row.interval, None if row.of_sample else row.published) for row in drawn
            ]
            digits = 2 if in_points else 4
            png = score_bars(scores, unit, f"{level} confidence interval", by_run=False, digits=digits)
            yield Figure(name, png, _caption(drawn) + (", in points" if in_points else ""))


def _definitions(rows: Sequence[Row], tasks: Mapping[str, str]) -> Iterator[Block]:
    """Of the metrics in the table, each once."""
    found = (metric_of(tasks[row.job], row.metric) for row in rows)
    told = dict.fromkeys(f"{metric.title}: {metric.definition}" for metric in found if metric)
    if told:
        yield Bullets(tuple(told))


def _caption(drawn: Sequence[Row]) -> str:
    if all(row.of_sample for row in drawn):
        return "Ours as bars; no published figures, since they do not compare with those of drawn samples"
    but = ", but none beside drawn samples" if any(row.of_sample for row in drawn) else ""
    return f"Ours as bars, published figures as diamonds{but}"


def _cells(row: Row, metric: Metric | None) -> tuple[Cell, ...]:
    details = [f"Published: {row.source}"] if row.source else []
    if row.state != "complete":
        told, _, why = row.state.partition(": ")
        details += [f"{told[0].upper()}{told[1:]}{': see the notes' if why else ''}"]
    details += [SAMPLE] if row.of_sample else []
    version = (f"version {row.version}",) if row.version else ()
    difference = (
        difference_cell(row.difference, metric.higher_is_better, row.digits) if metric else Cell(signed(row.difference))
    )
    return (
        Cell(breakable(_name(row)), tuple(details)),
        Cell(decimal(row.published, row.digits)),
        Cell(decimal(row.ours, row.digits), interval_line(row.interval)),
        difference,
        Cell(plain(row.published_within_interval)),
        Cell(count(row.samples)),
        Cell(plain(row.dataset), version),
        Cell(plain(row.run)),
        Cell(plain(row.epochs)),
    )


def _runs(results: Sequence[Reproduced]) -> Section | None:
    found = [(result.job, result.run) for result in results if result.run is not None]
    if not found:
        return None
    heads = ("Job", "Run", "Model", "Split", "Created", "Code", "Device", "Precision", "GPU-hours")
    rows = []
    for job, run in found:
        newest = run.attempts[-1] if run.attempts else {}
        code, facts = newest.get("code") or {}, newest.get("facts") or {}
        values = (
            run.run, run.setting("model.name"), run.metrics.get("split"), moment(run.record.get("created")),
            code.get("commit") or code.get("source"), facts.get("device"), facts.get("precision"),
            run.record.get("gpu_hours"),
        )  # fmt: skip
        rows.append((Cell(breakable(job)), *(Cell(plain(value)) for value in values)))
    table = Table("Runs", tuple(Column(head, numeric=head == "GPU-hours") for head in heads), tuple(rows))
    return Section("runs", "Runs", (table, Text("Each run's own report tells the rest.")))
