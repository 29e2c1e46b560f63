"""The section that groups the classes by IoU: precision and recall of those that are segmented well and badly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.report.figures_bars import binned_bars
from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

EN_DASH = "\N{EN DASH}"

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
    ranges = [f"{found['low']:.1f}{EN_DASH}{found['high']:.1f}" for found in bins]
    numbers = [int(found["classes"]) for found in bins]
    values = {name: [found[name.lower()] for found in bins] for name in ("Precision", "Recall")}
    caption = "Mean precision and recall of the classes in each bin of IoU, and below each bin the number of classes"
    table = Table(
        "IoU bins",
        (Column("IoU", numeric=False), Column("Classes"), Column("Mean precision"), Column("Mean recall"),
         Column("Which", numeric=False)),
        tuple(
            (Cell(told), Cell(count(found["classes"])), *(Cell(decimal(found[key])) for key in ("precision", "recall")),
             Cell(", ".join(_members(found, scores, last=found is bins[-1])) or "none"))
            for told, found in zip(ranges, bins, strict=True)
        ),
    )  # fmt: skip
    drawn = Gallery((Figure("iou_bins", binned_bars(ranges, numbers, values, "IoU of the class"), caption),))
    return Section("iou_bins", "Bins of IoU", (Text(DEFINED), drawn, table))


def _members(found: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], last: bool) -> list[str]:
    def within(iou: float | None) -> bool:
        return iou is not None and found["low"] <= iou and (iou < found["high"] or last)

    return [name for name, of_class in scores.items() if within(of_class["iou"])]
