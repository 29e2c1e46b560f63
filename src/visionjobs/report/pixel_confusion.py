"""The section on which class's pixels are taken for which."""

from __future__ import annotations

import numpy as np

from visionjobs.report import figures
from visionjobs.report.confusion import pairs
from visionjobs.report.page import Figure, Gallery, Section
from visionjobs.report.summary import RunSummary


def pixel_confusion(run: RunSummary) -> Section | None:
    """The row-normalised matrix of the classes that occur, and the most confused pairs; None before the evaluation."""
    names, counts = list(run.values.get("per_class") or {}), run.values.get("confusion_matrix")
    if not names or not counts:
        return None
    matrix = np.array(counts, np.int64)
    there = np.flatnonzero(matrix.any(axis=1) | matrix.any(axis=0))
    if not len(there):
        return None
    shown, short = matrix[np.ix_(there, there)].tolist(), [names[at] for at in there]
    wide = 28 * min(len(there), figures.LARGEST) if len(there) > figures.LARGE else 0
    left_out = len(names) - len(there)
    caption = (
        "Percent of the pixels of the true class (rows) by predicted class (columns): each row adds up to 100, on the "
        "diagonal is recall; empty cells: none, an empty row: the class has no pixels"
    )
    if left_out:
        caption += f"; {left_out} {'class' if left_out == 1 else 'classes'} neither there nor predicted not shown"
    drawn = Figure(
        "confusion_matrix_shares", figures.confusion_matrix(short, shown, shares=True), caption, min_width=wide
    )
    return Section("confusion", "Confusion matrix", (Gallery((drawn,)), *pairs(short, shown, "pixels", "wrong pixels")))
