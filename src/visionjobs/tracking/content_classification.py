"""What of a classification run goes to wandb, besides what every run has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from visionjobs.report.summary import RunSummary
from visionjobs.tracking.content_charts import bars, confusion_matrix, with_full
from visionjobs.tracking.messages import Chart, Picture, Table


def tables(run: RunSummary) -> dict[str, Table]:
    """Images of each class in each split."""
    counts = _counts(run)
    rows = ((name, *(split[name] for split in counts.values())) for name in run.dataset.get("classes") or ())
    return {"class_distribution": Table(("class", *counts), tuple(rows))} if counts else {}


def charts(run: RunSummary) -> Iterator[Chart]:
    """The confusion matrix, and the images of each class."""
    names, matrix = list(run.values.get("per_class") or ()), run.values.get("confusion_matrix")
    if names and matrix:
        yield confusion_matrix(names, matrix)
    for split, counts in _counts(run).items():
        yield bars(f"class distribution {split}", counts, "images")


def pictures(run: RunSummary) -> dict[str, tuple[Picture, ...]]:
    """Mistakes, and augmented images."""
    return {"misclassified": tuple(_misclassified(run)), "augmented": tuple(_augmented(run))}


def _counts(run: RunSummary) -> Mapping[str, Mapping[str, int]]:
    return with_full(run, run.dataset.get("counts") or {})


def _misclassified(run: RunSummary) -> Iterator[Picture]:
    """The mistakes whose images were kept, each with its true and predicted class."""
    predictions, samples = run.predictions, run.samples
    if predictions is None or samples is None:
        return
    names = predictions.classes
    for row, image in zip(samples.index, samples.images, strict=True):
        if not predictions.correct[row]:
            true, predicted = names[predictions.labels[row]], names[predictions.predicted[row]]
            yield Picture(image, f"{true} -> {predicted} ({predictions.confidence[row]:.2f})")


def _augmented(run: RunSummary) -> Iterator[Picture]:
    """Training images, each followed by its augmented copies."""
    if run.samples is None:
        return
    names = run.dataset.get("classes")
    samples = run.samples
    for original, label, copies in zip(samples.originals, samples.original_labels, samples.augmented, strict=True):
        name = names[label] if names else f"class {label}"
        yield Picture(original, f"{name}: original")
        yield from (Picture(copy, f"{name}: augmented copy {number}") for number, copy in enumerate(copies, 1))
