"""The sections on which class is taken for which: confusion matrix, most confused pairs, figures of each class."""

from __future__ import annotations

from collections.abc import Sequence

from visionjobs.report import figures
from visionjobs.report.formatting import count, decimal, percent
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

PAIRS = 10


def confusion(run: RunSummary) -> Section | None:
    """The matrix as counts and as shares, and the most confused pairs; None before the run was evaluated."""
    names, matrix = list(run.values.get("per_class") or {}), run.values.get("confusion_matrix")
    if not names or not matrix:
        return None
    width = 26 * min(len(names), figures.LARGEST) if len(names) > figures.LARGE else 0
    drawn = (
        Figure(
            "confusion_matrix",
            figures.confusion_matrix(names, matrix),
            "Confusion matrix: number of samples by true class (rows) and predicted class (columns); empty cells: none",
            min_width=width,
        ),
        Figure(
            "confusion_matrix_shares",
            figures.confusion_matrix(names, matrix, shares=True),
            "The same in percent of the samples of the true class: each row adds up to 100; on the diagonal, recall",
            min_width=width,
        ),
    )
    return Section("confusion", "Confusion matrix", (Gallery(drawn), *pairs(names, matrix, "samples", "mistakes")))


def pairs(names: Sequence[str], matrix: Sequence[Sequence[int]], unit: str, mistakes: str) -> tuple[Block, ...]:
    """The PAIRS most frequent mistakes, of equally frequent ones the earlier classes first.

    matrix: [K][K], truth by prediction; unit: what it counts, mistakes: those of them that are wrong, in the plural.
    """
    wrong = [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
    total = sum(n for n, _, _ in wrong)
    if not wrong:
        return (Text(f"None of the {unit} was misclassified."),) if sum(map(sum, matrix)) else ()
    shown = sorted(wrong, key=lambda pair: (-pair[0], pair[1], pair[2]))[:PAIRS]
    table = Table(
        "Most confused pairs",
        (Column("True class", numeric=False), Column("Predicted class", numeric=False), Column(unit.capitalize()),
         Column("Share of the true class"), Column(f"Share of all {mistakes}")),
        tuple(
            (Cell(names[i]), Cell(names[j]), Cell(count(n)), Cell(percent(n / sum(matrix[i]))),
             Cell(percent(n / total)))
            for n, i, j in shown
        ),
    )  # fmt: skip
    told = sum(n for n, _, _ in shown)
    lead = (
        f"The {len(shown)} most confused pairs of classes, of {count(len(wrong))} that occur, hold {count(told)} of "
        f"the {count(total)} {mistakes}:"
    )
    return Text(lead), table


def classes(run: RunSummary) -> Section | None:
    """Precision, recall, F1 and samples of each class; None before the run was evaluated."""
    scores, ratios = run.values.get("per_class"), ("precision", "recall", "f1")
    if not scores:
        return None
    table = Table(
        "Classes",
        (Column("Class", numeric=False), Column("Precision"), Column("Recall"), Column("F1"), Column("Samples")),
        tuple(
            (Cell(name), *(Cell(decimal(row[key])) for key in ratios), Cell(count(row["support"])))
            for name, row in scores.items()
        ),
    )
    definition = Text(
        "Precision: of the samples predicted as the class, the share that belongs to it. Recall: of the class's "
        "samples, the share predicted as it. F1: their harmonic mean."
    )
    return Section("classes", "Classes", (table, definition))
