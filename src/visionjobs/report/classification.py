"""What the classification task adds to a report."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.augmentation import augmentation
from visionjobs.report.calibration import calibration
from visionjobs.report.confusion import classes, confusion
from visionjobs.report.distribution import distribution
from visionjobs.report.features import features
from visionjobs.report.formatting import MINUS, plain
from visionjobs.report.mistakes import mistakes
from visionjobs.report.overfitting import overfitting
from visionjobs.report.page import Section, Tile
from visionjobs.report.results import metric_tile
from visionjobs.report.summary import RunSummary
from visionjobs.report.task import CurveFigure, Metric, TaskReport

SCORE = "val_accuracy"

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
    Metric(
        "ece",
        "ECE (expected calibration error)",
        "Distance between accuracy and mean confidence: the mean over 15 bins of confidence of equal width, weighted "
        "by their number of samples; 0 where the model is right as often as its confidence says.",
        higher_is_better=False,
    ),
    Metric(
        "adaptive_ece",
        "Adaptive ECE",
        "The same over 15 bins of equal numbers of samples, so that none is nearly empty.",
        higher_is_better=False,
    ),
)

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
        metric_tile(run, "ece", "ECE"),
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
    """What follows the training; a section that has nothing to tell is left out."""
    made = (
        overfitting(run, "accuracy", "accuracy"),
        distribution(run),
        confusion(run),
        classes(run),
        calibration(run),
        mistakes(run),
        augmentation(run),
        features(run),
    )
    return tuple(section for section in made if section is not None)


REPORT = TaskReport(
    unit="samples",
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
