"""The section that sets our figures beside the published ones, each with its definition."""

from __future__ import annotations

from visionjobs.data.catalog import SAMPLE_SUFFIX
from visionjobs.report.formatting import MINUS, NOT_AVAILABLE, count, decimal, plain, signed
from visionjobs.report.page import Cell, Column, Section, Table, Text, Tile, Tone
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import Metric, TaskReport


def results(run: RunSummary, task: TaskReport) -> Section:
    """Each metric with its definition, ours, the published figure and the difference.

    A published figure whose key is none of the task's metrics gets a row too, so that a misspelt key shows.
    """
    known = {metric.key for metric in task.metrics}
    others = [Metric(key, key, "") for key in run.published if key not in known]
    table = Table(
        "Results",
        (Column("Metric", numeric=False), Column("Ours"), Column("Published"), Column("Difference")),
        tuple(_row(run, metric) for metric in (*task.metrics, *others) if _told(run, metric)),
    )
    method = _method(run, task.unit)
    told = measured(run, task.samples(run), task.unit)
    return Section("results", "Results", (Text(told), table, *((Text(method),) if method else ())))


def measured(run: RunSummary, samples: int, unit: str) -> str:
    """Which weights were measured on what, in a sentence or two. unit: of the samples, in the plural."""
    if not run.values:
        return "The run was not evaluated yet."
    weights = "with the weights at the end of training "
    if not run.trains:
        weights = "" if run.of_file else "with the weights as they were given, without training, "
    return (
        f"Ours: measured {weights}on the {count(samples)} {unit} of the split "
        f"{plain(run.metrics.get('split'))} of {' '.join(run.measured_on)}. Difference: ours less the published figure."
    )


def _method(run: RunSummary, unit: str) -> str:
    """How the confidence intervals were made, in a sentence or two; "" where there are none."""
    intervals = run.values.get("intervals") or {}
    if not any(run.interval(key) for key in intervals):
        return ""
    return (
        f"The small figures below ours are {percent_level(run)} confidence intervals: {plain(intervals.get('method'))} "
        f"({count(as_number(intervals.get('resamples')))} resamples, seed {plain(intervals.get('seed'))}). They tell "
        f"how far a figure hangs on which {unit} happened to be evaluated, not on the draws of the training."
    )


def _told(run: RunSummary, metric: Metric) -> bool:
    return not metric.optional or run.value(metric.key) is not None or metric.key in run.published


def percent_level(run: RunSummary) -> str:
    """The level of the confidence intervals: '95 %'."""
    level = as_number((run.values.get("intervals") or {}).get("level"))
    return NOT_AVAILABLE if level is None else f"{100 * level:.6g}\N{NO-BREAK SPACE}%"


def interval(run: RunSummary, key: str) -> tuple[str, ...]:
    """The metric's confidence interval as one line, ('95 %: 0.4210 to 0.5580',); () where there is none.

    It may be broken before "to" only, where a phone has no room for it.
    """
    ends = run.interval(key)
    if ends is None:
        return ()
    tie = "\N{NO-BREAK SPACE}"
    return (f"{percent_level(run)}:{tie}{decimal(ends[0])} to{tie}{decimal(ends[1])}",)


def _row(run: RunSummary, metric: Metric) -> tuple[Cell, ...]:
    ours, published = run.value(metric.key), run.published.get(metric.key, {})
    source = (f"Published: {published['source']}",) if published.get("source") else ()
    definition = (metric.definition,) if metric.definition else ()
    return (
        Cell(metric.title, (*definition, *source)),
        Cell(decimal(ours, metric.digits), interval(run, metric.key)),
        Cell(decimal(as_number(published.get("value")), metric.digits)),
        published_cell(run, metric.key, metric.higher_is_better, metric.digits),
    )


def of_sample(run: RunSummary) -> bool:
    """Whether the run was trained or measured on a drawn sample: published figures, of real data, do not compare."""
    return any(str(name).endswith(SAMPLE_SUFFIX) for name in (run.setting("data.name"), run.measured_on[0]))


def published_difference(run: RunSummary, key: str) -> float | None:
    """Ours less the published figure; None without one of them, and for a drawn sample."""
    ours, theirs = run.value(key), as_number(run.published.get(key, {}).get("value"))
    return None if ours is None or theirs is None or of_sample(run) else ours - theirs


def published_cell(run: RunSummary, key: str, higher_is_better: bool | None, digits: int = 4) -> Cell:
    """The difference to the published figure; None: whether higher is better is not known."""
    if run.published.get(key) and of_sample(run):
        return Cell(NOT_AVAILABLE, ("drawn sample",))
    difference = published_difference(run, key)
    if higher_is_better is None:
        return Cell(signed(difference, digits))
    return difference_cell(difference, higher_is_better, digits)


def difference_cell(difference: float | None, higher_is_better: bool, digits: int = 4) -> Cell:
    """Signed, and in words whether that is better: colour alone does not reach everybody."""
    text = signed(difference, digits)
    if difference is None or text[0] not in ("+", MINUS):
        return Cell(text)
    tone: Tone = "better" if (difference > 0) == higher_is_better else "worse"
    return Cell(text, (tone,), tone)


def metric_tile(run: RunSummary, key: str, label: str) -> Tile:
    """A metric for the headline, with its interval and, where it compares, the published figure below."""
    difference, theirs = published_difference(run, key), as_number(run.published.get(key, {}).get("value"))
    beside = "" if difference is None else f"published {decimal(theirs)} ({signed(difference)})"
    return Tile(label, decimal(run.value(key)), beside, interval(run, key))
