"""The section on how well the boxes of each class are found."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.figures_classes import floor_bars
from visionjobs.report.floors import Floor, floors
from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

CHART = 30
"""Classes in one chart at most: what is longer than a screen is not looked at as a whole."""

DEFINED = (
    "AP of each class: the area under its precision-recall curve (101 recalls), averaged over the IoU .50, .55, ..., "
    ".95 from which a detection is right; AP50: at IoU .50 alone; AR: the recall with 100 detections an image. A "
    "class without true boxes is n/a. Classes in the order of their AP at the highest floor."
)


def class_aps(run: RunSummary) -> Section | None:
    """Charts and table of all classes; None before the run was evaluated."""
    found = floors(run)
    if not found or not (scores := list(found.values())[-1].get("per_class")):
        return None
    order = sorted(scores, key=lambda name: -1.0 if scores[name]["AP"] is None else scores[name]["AP"], reverse=True)
    return Section("classes", "Classes", (Text(DEFINED), Gallery(tuple(_charts(found, order))), _table(found, order)))


def _charts(found: dict[str, Floor], order: list[str]) -> Iterator[Figure]:
    """As many of about the same length as it takes."""
    number = -(-len(order) // CHART)
    length = -(-len(order) // number)
    for at in range(number):
        names = order[at * length : (at + 1) * length]
        bars = {f"at {floor}": [of["per_class"][name]["AP"] for name in names] for floor, of in found.items()}
        told = f", {at + 1} of {number}" if number > 1 else ""
        caption = f"AP of each class by confidence floor{told}; n/a: the class has no true boxes"
        yield Figure(f"class_ap_{at + 1}", floor_bars(names, bars, "AP"), caption)


def _table(found: dict[str, Floor], order: list[str]) -> Table:
    measures = ("AP", "AP50", "AR100")
    headings = [f"{'AR' if key == 'AR100' else key} at {floor}" for key in measures for floor in found]
    headings += ["True boxes", "Images", *(f"Detections at {floor}" for floor in found)]
    first = next(iter(found.values()))["per_class"]
    return Table(
        "Classes",
        (Column("Class", numeric=False), *map(Column, headings)),
        tuple(
            (
                Cell(name),
                *(Cell(decimal(of["per_class"][name][key], 3)) for key in measures for of in found.values()),
                Cell(count(first[name]["boxes"])),
                Cell(count(first[name]["images"])),
                *(Cell(count(of["per_class"][name]["detections"])) for of in found.values()),
            )
            for name in order
        ),
    )
