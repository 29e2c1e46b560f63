"""Tables drawn as wandb's own charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from visionjobs.report.summary import RunSummary
from visionjobs.tracking.messages import Chart, Table

Counts = Mapping[str, Mapping[str, int]]
"""Split -> class -> number."""


def confusion_matrix(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Chart:
    """Rows truth, columns prediction, both in the order of `names`."""
    columns = ("Actual", "Predicted", "nPredictions")  # the preset's own names
    cells = ((name, other, n) for name, row in zip(names, matrix, strict=True)
             for other, n in zip(names, row, strict=True))  # fmt: skip
    fields = {column: column for column in columns}
    return Chart("confusion matrix", "wandb/confusion_matrix/v1", Table(columns, tuple(cells)), fields)


def bars(title: str, numbers: Mapping[str, float], what: str) -> Chart:
    """A bar a class."""
    table = Table(("class", what), tuple(numbers.items()))
    return Chart(title, "wandb/bar/v0", table, {"label": "class", "value": what})


def lines(title: str, columns: tuple[str, str, str], points: Sequence[tuple[float, float, str]]) -> Chart:
    """Lines by name. columns: of a point, x, y and the name of its line."""
    x, y, name = columns
    return Chart(title, "wandb/line/v0", Table(columns, tuple(points)), {"x": x, "y": y, "stroke": name})


def with_full(run: RunSummary, counts: Counts) -> dict[str, Mapping[str, int]]:
    """The counts, and all splits together as "full"; {} without any."""
    names = run.dataset.get("classes") or ()
    return {**counts, "full": {name: sum(split[name] for split in counts.values()) for name in names}} if counts else {}
