"""What a report of the classification task shows besides the sections of every report."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report import figures
from visionjobs.report.formatting import count, decimal, plain, signed
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text, Tile
from visionjobs.report.sections import Metric
from visionjobs.report.summary import RunSummary

METRICS = (
    Metric("accuracy", "Accuracy", "Share of the samples whose most probable class is the true one."),
    Metric("balanced_accuracy", "Balanced accuracy", "Mean of the classes' recall, each class counting the same."),
    Metric("f1_macro", "F1, macro", "Mean of the classes' F1, each class counting the same."),
    Metric("f1_weighted", "F1, weighted", "Mean of the classes' F1, weighted by their number of samples."),
    Metric(
        "nll",
        "Loss (negative log-likelihood)",
        "Mean over the samples of \N{MINUS SIGN}ln of the probability given to the true class, without label "
        "smoothing, in nats; the same probability for each of K classes gives ln K.",
        higher_is_better=False,
    ),
)


def tiles(run: RunSummary) -> tuple[Tile, ...]:
    """The headline's numbers."""
    best = run.best
    detail = "" if best is None else f"of {len(run.history)}, by validation accuracy"
    return (
        Tile("Accuracy", decimal(run.value("accuracy")), _beside_published(run, "accuracy")),
        Tile("Loss (NLL)", decimal(run.value("nll")), _beside_published(run, "nll")),
        Tile("F1, macro", decimal(run.value("f1_macro")), _beside_published(run, "f1_macro")),
        Tile("Best epoch", plain(None if best is None else best["epoch"]), detail),
    )


def _beside_published(run: RunSummary, key: str) -> str:
    ours, theirs = run.value(key), run.published.get(key, {}).get("value")
    if ours is None or theirs is None:
        return ""
    return f"published {decimal(theirs)} ({signed(ours - theirs)})"


def samples(run: RunSummary) -> int:
    """Number of samples that were evaluated."""
    return sum(map(sum, run.values.get("confusion_matrix") or ()))


def remarks(run: RunSummary) -> Iterator[str]:
    """Sentences on classes without samples and classes never predicted."""
    classes = run.values.get("per_class") or {}
    for name, scores in classes.items():
        if not scores["support"]:
            yield f'The class "{name}" has no samples in this split: its figures are n/a, and macro means leave it out.'
        elif scores["precision"] is None:
            yield f'The class "{name}" was never predicted: its precision is n/a, and its F1 counts as 0.'


def sections(run: RunSummary) -> tuple[Section, ...]:
    """Per-class table and confusion matrix; none before the run was evaluated."""
    classes, matrix = run.values.get("per_class"), run.values.get("confusion_matrix")
    if not classes or not matrix:
        return ()
    names, ratios = list(classes), ("precision", "recall", "f1")
    table = Table(
        "Classes",
        (Column("Class", numeric=False), Column("Precision"), Column("Recall"), Column("F1"), Column("Samples")),
        tuple(
            (Cell(name), *(Cell(decimal(row[key])) for key in ratios), Cell(count(row["support"])))
            for name, row in classes.items()
        ),
    )
    definition = Text(
        "Precision: of the samples predicted as the class, the share that belongs to it. Recall: of the class's "
        "samples, the share predicted as it. F1: their harmonic mean."
    )
    figure = Figure(
        "confusion_matrix",
        figures.confusion_matrix(names, matrix),
        "Confusion matrix: number of samples by true class (rows) and predicted class (columns); empty cells: none",
        min_width=26 * len(names) if len(names) > figures.LARGE else 0,
    )
    return (
        Section("classes", "Classes", (table, definition)),
        Section("confusion", "Confusion matrix", (Gallery((figure,)),)),
    )
