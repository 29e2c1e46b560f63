"""The section that sets a detector's figures beside the published ones, a column a confidence floor."""

from __future__ import annotations

from visionjobs.report.detection_metrics import GROUPS, Group, at_floor
from visionjobs.report.floors import floors
from visionjobs.report.formatting import decimal
from visionjobs.report.page import Block, Cell, Column, Section, Table, Text
from visionjobs.report.results import measured, published_cell
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import Metric

READ = (
    "Each column has the detections whose confidence is at least that of its heading. A low floor shows what the "
    "detector can find; a high one is how detectors are used, and cuts the precision-recall curve off."
)


def detection_results(run: RunSummary) -> Section:
    """A table a group of metrics; published figures of keys that no table has stand in one of their own."""
    blocks: list[Block] = [Text(measured(run, int(run.values.get("images") or 0), "images"))]
    blocks += [Text(READ)] if run.values else []
    keys = _floors(run)
    for group in GROUPS if keys else ():
        blocks += [Text(group.lead), _table(run, group, keys)]
    known = {at_floor(metric, floor).key for group in GROUPS for metric in group.metrics for floor in keys}
    if others := [key for key in run.published if key not in known]:
        blocks.append(_others(run, others))
    return Section("results", "Results", tuple(blocks))


def _floors(run: RunSummary) -> list[str]:
    """Those that were measured or, before that, are going to be."""
    return list(floors(run)) or [f"{floor:.10g}" for floor in run.setting("detect.floors") or ()]


def _table(run: RunSummary, group: Group, keys: list[str]) -> Table:
    compared = [
        floor for floor in keys if any(at_floor(metric, floor).key in run.published for metric in group.metrics)
    ]
    headings = [f"At {floor}" for floor in keys]
    headings += [heading for floor in compared for heading in (f"Published, {floor}", f"Difference, {floor}")]
    rows = (_row(run, metric, keys, compared) for metric in group.metrics)
    return Table(group.name, (Column("Metric", numeric=False), *map(Column, headings)), tuple(rows))


def _row(run: RunSummary, metric: Metric, keys: list[str], compared: list[str]) -> tuple[Cell, ...]:
    at = {floor: at_floor(metric, floor).key for floor in keys}
    sources = sorted({str(source) for key in at.values() if (source := run.published.get(key, {}).get("source"))})
    told = " ".join((metric.definition, *(f"Published: {source}." for source in sources)))
    cells = [Cell(decimal(run.value(key), metric.digits)) for key in at.values()]
    for floor in compared:
        theirs = as_number(run.published.get(at[floor], {}).get("value"))
        cells += [
            Cell(decimal(theirs, metric.digits)),
            published_cell(run, at[floor], metric.higher_is_better, metric.digits),
        ]
    return Cell(metric.title, (told,)), *cells


def _others(run: RunSummary, keys: list[str]) -> Table:
    columns = (Column("Metric", numeric=False), *map(Column, ("Ours", "Published", "Difference")))
    return Table("Others", columns, tuple(_other(run, key) for key in keys))


def _other(run: RunSummary, key: str) -> tuple[Cell, ...]:
    """A key that the job file misspells, or of a floor that was not evaluated."""
    source = run.published[key].get("source")
    theirs = as_number(run.published[key].get("value"))
    return (
        Cell(key, (f"Published: {source}",) if source else ()),
        Cell(decimal(run.value(key))),
        Cell(decimal(theirs)),
        published_cell(run, key, None),
    )
