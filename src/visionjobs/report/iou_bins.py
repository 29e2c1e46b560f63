"""The section that groups the classes by IoU: precision and recall of those that are segmented well and badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visionjobs.report.figures_bars import binned_bars
from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

DEFINED = (
    "The classes that have pixels, in bins of IoU: a bin holds its lower bound, and the last one 1 as well. Precision "
    "and recall are means over the classes of a bin; a class that was never predicted has no precision and is left out "
    "of its mean."
)


def iou_bins(run: RunSummary) -> Section | None:
    """Chart and table of the bins; None before the run was evaluated."""
    bins, scores = run.values.get("iou_bins"), run.values.get("per_class")
    if not bins or not scores or not any(found["classes"] for found in bins):
        return None
    ranges = [(found["low"], found["high"]) for found in bins]
    numbers = [int(found["classes"]) for found in bins]
    values = {name: [found[name.lower()] for found in bins] for name in ("Precision", "Recall")}
    caption = "Mean precision and recall of the classes in each bin of IoU, and below each bin the number of classes"
    headings = (Column("Classes"), Column("Mean precision"), Column("Mean recall"), Column("Which", numeric=False))
    table = Table(
        "IoU bins", (Column("IoU", numeric=False), *headings), tuple(_row(found, bins, scores) for found in bins)
    )
    drawn = Gallery((Figure("iou_bins", binned_bars(ranges, numbers, values, "IoU of the class"), caption),))
    return Section("iou_bins", "Bins of IoU", (Text(DEFINED), drawn, table))


def _row(
    found: Mapping[str, Any], bins: Sequence[Mapping[str, Any]], scores: Mapping[str, Mapping[str, Any]]
) -> tuple[Cell, ...]:
    means = (Cell(decimal(found[key])) for key in ("precision", "recall"))
    members = ", ".join(_members(found, scores, last=found is bins[-1]))
    told = f"{found['low']:.1f} to {found['high']:.1f}"
    return Cell(told), Cell(count(found["classes"])), *means, Cell(members or "none")


def _members(found: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], last: bool) -> list[str]:
    def within(iou: float | None) -> bool:
        return iou is not None and found["low"] <= iou and (iou < found["high"] or last)

    return [name for name, of_class in scores.items() if within(of_class["iou"])]
