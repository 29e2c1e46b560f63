"""The section of a comparison's page on the metrics: all runs in one table or, by floor, a table a group of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.compare_classes import score_cell
from visionjobs.report.compare_figures import Score, score_bars
from visionjobs.report.compare_pairs import breakable, interval_line
from visionjobs.report.compare_runs import Compared
from visionjobs.report.detection_metrics import Group
from visionjobs.report.formatting import count, decimal, plain
from visionjobs.report.page import Block, Bullets, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.results import of_sample, percent_level
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import Metric


def best_of(compared: Compared, metric: Metric) -> tuple[float | None, list[int]]:
    """The best value of a metric and the places of the runs that show it; none where all do, where the runs' losses are
    not over the same pixels, and of count_ece, which does not look at the boxes and so ranks nothing."""
    if (metric.key == "loss" and compared.losses_differ) or metric.key.endswith("count_ece"):
        return None, []
    values = [run.value(metric.key) for run in compared.runs]
    there = [value for value in values if value is not None]
    if not there:
        return None, []
    best = max(there) if metric.higher_is_better else min(there)
    shown = decimal(best, metric.digits)
    places = [place for place, value in enumerate(values) if decimal(value, metric.digits) == shown]
    return best, places if len(places) < len(values) else []


def within_a_line(title: str) -> str:
    """Accuracy -> accuracy, but F1 and ECE stay."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def results(compared: Compared) -> Section:
    """Every metric of every run, the best one marked; the first of the headline as bars."""
    tables: list[Block] = [block for group in compared.kind.groups for block in _group(compared, group)]
    tables = tables or [_table(compared)]
    main = compared.headline[:1]
    drawn = (Gallery((_bars(compared, main[0]),)),) if main else ()
    shown = () if compared.kind.groups else compared.metrics
    definitions = (Bullets(tuple(f"{metric.title}: {metric.definition}" for metric in shown)),) if shown else ()
    return Section("results", "Results", (*tables, *drawn, *_method(compared), *definitions))


def _table(compared: Compared) -> Table:
    """A row a run, a column a metric."""
    metrics = compared.metrics
    best = {metric.key: best_of(compared, metric)[1] for metric in metrics}
    rows = []
    for place, (run, label) in enumerate(zip(compared.runs, compared.labels, strict=True)):
        cells = []
        for metric in metrics:
            is_best = place in best[metric.key]
            cells.append(score_cell(run.value(metric.key), is_best, interval_line(run.interval(metric.key))))
        rows.append((Cell(breakable(label), (run.run,) if label != run.run else ()), *cells))
    heads = (Column("Run", numeric=False), *(Column(metric.title) for metric in metrics))
    return Table("Results", heads, tuple(rows))


def _group(compared: Compared, group: Group) -> Iterator[Block]:
    """A row a metric and floor, a column a run."""
    of_group = {f"floors.{floor}.{metric.key}": metric.definition for metric in group.metrics
                for floor in compared.floors}  # fmt: skip
    rows, told = [], set[str]()
    for metric in (metric for metric in compared.metrics if metric.key in of_group):
        best = best_of(compared, metric)[1]
        cells = (
            score_cell(run.value(metric.key), place in best, digits=metric.digits)
            for place, run in enumerate(compared.runs)
        )
        definition = of_group[metric.key]  # once, not at each floor
        rows.append((Cell(metric.title, () if definition in told else (definition,)), *cells))
        told.add(definition)
    if rows:
        yield Text(group.lead)
        yield Table(group.name, (Column("Metric", numeric=False), *map(Column, compared.labels)), tuple(rows))


def _bars(compared: Compared, main: Metric) -> Figure:
    scores = [
        Score(label, run.value(main.key), run.interval(main.key), comparable(run, main.key))
        for run, label in zip(compared.runs, compared.labels, strict=True)
    ]
    level = percent_level(compared.runs[0])
    beside = f", with {level} confidence interval" if any(score.interval for score in scores) else ""
    return Figure(
        f"{main.key.replace('.', '_')}_by_run",
        score_bars(scores, within_a_line(main.title), f"{level} confidence interval"),
        f"{main.title} by run{beside}" + _if_published(scores),
    )


def published_value(run: RunSummary, key: str) -> float | None:
    """The published figure of a metric, None without one."""
    return as_number(run.published.get(key, {}).get("value"))


def comparable(run: RunSummary, key: str) -> float | None:
    """The published figure, None for a drawn sample."""
    return None if of_sample(run) else published_value(run, key)


def _if_published(scores: list[Score]) -> str:
    there = any(score.published is not None for score in scores)
    return "; the diamond is the published figure" if there else ""


def _method(compared: Compared) -> Iterator[Block]:
    run = compared.runs[0]
    given = run.values.get("intervals") or {}
    if given:
        yield Text(
            f"Small figures: {percent_level(run)} confidence intervals, {plain(given.get('method'))} "
            f"({count(as_number(given.get('resamples')))} resamples). Two that overlap do not show that the runs are "
            f"alike: the pairs below are tested on the same {compared.task.unit}, which shows smaller differences."
        )
