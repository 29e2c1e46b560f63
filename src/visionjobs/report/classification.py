"""What the classification task adds to a report."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report import figures
from visionjobs.report.formatting import MINUS, count, decimal, plain
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text, Tile
from visionjobs.report.results import metric_tile
from visionjobs.report.summary import RunSummary
from visionjobs.report.task import CurveFigure, Metric, TaskReport

METRICS = (
    Metric("accuracy", "Accuracy", "Share of the samples whose most probable class is the true one."),
    Metric("balanced_accuracy", "Balanced accuracy", "Mean of the classes' recall, each class counting the same."),
    Metric("f1_macro", "F1, macro", "Mean of the classes' F1, each class counting the same."),
    Metric("f1_weighted", "F1, weighted", "Mean of the classes' F1, weighted by their number of samples."),
    Metric(
        "nll",
        "Loss (negative log-likelihood)",
        f"Mean over the samples of {MINUS}ln of the probability given to the true class, without label smoothing, in "
        "nats; the same probability for each of K classes gives ln K.",
        higher_is_better=False,
    ),
)

SCORE = "val_accuracy"

CURVES = (
    CurveFigure("loss", "Loss by epoch", "loss", {"training": "train_loss", "validation": "val_loss"}),
    CurveFigure(
        "accuracy", "Accuracy by epoch", "accuracy", {"training": "train_accuracy", "validation": SCORE}, (0.0, 1.0)
    ),
)

COLUMNS = {
    "train_loss": "Training loss",
    "train_ce": "Cross-entropy term",
    "train_uniform": "Uniform term",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "val_accuracy": "Validation accuracy",
}

COLUMNS_EXPLAINED = (
    "The training loss is the sum of its two label-smoothing terms, cross-entropy and uniform; the validation loss is "
    "the cross-entropy without smoothing. Training figures are means over the samples as they were trained on, "
    "augmented ones included, while the weights changed; validation figures are those of the weights at the end of the "
    "epoch."
)


def samples(run: RunSummary) -> int:
    """Number of samples that were evaluated."""
    return sum(map(sum, run.values.get("confusion_matrix") or ()))


def tiles(run: RunSummary) -> tuple[Tile, ...]:
    """The headline's numbers."""
    best = run.best_epoch(SCORE)
    return (
        metric_tile(run, "accuracy", "Accuracy"),
        metric_tile(run, "nll", "Loss (NLL)"),
        metric_tile(run, "f1_macro", "F1, macro"),
        Tile("Best epoch", plain(best), "" if best is None else f"of {len(run.history)}, by validation accuracy"),
    )


def remarks(run: RunSummary) -> Iterator[str]:
    """Sentences on classes without samples and classes never predicted."""
    for name, scores in (run.values.get("per_class") or {}).items():
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


REPORT = TaskReport(
    metrics=METRICS,
    score=SCORE,
    score_name="validation accuracy",
    curves=CURVES,
    columns=COLUMNS,
    columns_explained=COLUMNS_EXPLAINED,
    samples=samples,
    tiles=tiles,
    remarks=remarks,
    sections=sections,
)
