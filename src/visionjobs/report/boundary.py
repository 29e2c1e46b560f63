"""The section on how well outlines are placed."""

from __future__ import annotations

from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Cell, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number

DEFINED = (
    "A boundary pixel is one with a pixel of another class above, below, left or right of it. Precision: of the "
    "predicted boundary pixels of a class, the share within {tolerance} pixels (0.75 % of the image's diagonal) of a "
    "true one. Recall: of the true ones, the share within as many pixels of a predicted one. F: their harmonic mean, 0 "
    "where nothing is predicted. All images are counted together (Csurka, Larlus and Perronnin, BMVC 2013, average the "
    "F of each image instead), so that the figures are not to be compared with published ones."
)


def boundary(run: RunSummary) -> Section | None:
    """F, precision and recall of each class's boundary; None where they were not measured."""
    found = run.values.get("boundary") or {}
    scores = found.get("per_class")
    if not scores:
        return None
    table = Table(
        "Boundaries",
        (Column("Class", numeric=False), *map(Column, ("F", "Precision", "Recall", "True boundary pixels"))),
        tuple(
            (Cell(name), *(Cell(decimal(row[key])) for key in ("f", "precision", "recall")), Cell(count(row["pixels"])))
            for name, row in scores.items()
        ),
    )
    told = DEFINED.format(tolerance=decimal(as_number(found.get("tolerance")), 1))
    mean = f"Mean F over the classes that have boundaries: {decimal(as_number(found.get('f')))}."
    return Section("boundaries", "Boundaries", (Text(mean), table, Text(told)))
