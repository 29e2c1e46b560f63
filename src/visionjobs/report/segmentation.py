"""What the segmentation task adds to a report."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.boundary import boundary
from visionjobs.report.class_ious import class_ious
from visionjobs.report.formatting import MINUS, count, plain
from visionjobs.report.iou_bins import iou_bins
from visionjobs.report.overfitting import overfitting
from visionjobs.report.page import Section, Tile
from visionjobs.report.paired_augmentation import paired_augmentation
from visionjobs.report.pixel_confusion import pixel_confusion
from visionjobs.report.pixel_distribution import pixel_distribution
from visionjobs.report.results import metric_tile
from visionjobs.report.scene_samples import scene_samples, worst
from visionjobs.report.summary import RunSummary
from visionjobs.report.task import CurveFigure, Metric, TaskReport

SCORE = "val_miou"

METRICS = (
    Metric(
        "miou",
        "mIoU",
        "Mean over the classes that have pixels of their IoU: the pixels rightly said to be of the class, divided by "
        "those that are or were said to be of it, over all images together.",
    ),
    Metric("pixel_accuracy", "Pixel accuracy", "Share of all pixels whose predicted class is the true one."),
    Metric(
        "mean_accuracy",
        "Mean accuracy",
        "Mean over the classes that have pixels of the share of their pixels that was found, each class counting the "
        "same.",
    ),
    Metric(
        "mean_dice",
        "Mean Dice",
        "Mean over the classes that have pixels of their Dice coefficient, 2 IoU / (1 + IoU), which is also F1.",
    ),
    Metric("fwiou", "Frequency-weighted IoU", "Mean of the classes' IoU, weighted by their share of the pixels."),
    Metric(
        "boundary.f",
        "Boundary F",
        "Mean over the classes of how well the outlines are placed: harmonic mean of the share of predicted boundary "
        "pixels near a true one and of true ones near a predicted one.",
    ),
    Metric(
        "loss",
        "Loss (cross-entropy)",
        f"Mean over the pixels of {MINUS}ln of the probability given to the true class, in nats, without class weights "
        "and label smoothing; the same probability for each of K classes gives ln K. Pixels of the classes in "
        "train.ignore are left out.",
        higher_is_better=False,
    ),
    Metric(
        "camvid11.miou",
        "mIoU, 11 classes",
        "The classes folded into the 11 that the literature reports; pixels that are truly of none of them, Void above "
        "all, are left out, and a prediction of none of them is a miss.",
        optional=True,
    ),
    Metric("camvid11.pixel_accuracy", "Pixel accuracy, 11 classes", "Of the same pixels and classes.", optional=True),
    Metric(
        "camvid31.miou",
        "mIoU, 31 classes",
        "All classes but Void: pixels that are truly Void are left out, and a prediction of Void is a miss.",
        optional=True,
    ),
)

CURVES = (
    CurveFigure("loss", "Loss (cross-entropy) by epoch", "loss", {"training": "train_ce", "validation": "val_loss"}),
    CurveFigure("miou", "mIoU by epoch", "mIoU", {"training": "train_miou", "validation": SCORE}, (0.0, 1.0)),
)

COLUMNS = {
    "train_loss": "Training loss",
    "train_ce": "Training cross-entropy",
    "val_loss": "Validation loss",
    "train_miou": "Training mIoU",
    "val_miou": "Validation mIoU",
    "train_pixel_accuracy": "Training pixel accuracy",
    "val_pixel_accuracy": "Validation pixel accuracy",
}

COLUMNS_EXPLAINED = (
    "The training loss is what was optimised, with class weights, label smoothing and an auxiliary head where the job "
    "has them; training cross-entropy and validation loss are without them. Training figures are over the images as "
    "they were trained on, augmented, while the weights changed; validation figures are those of the weights at the "
    "end of the epoch."
)


def samples(run: RunSummary) -> int:
    """Number of images that were evaluated."""
    return int(run.values.get("images") or 0)


def tiles(run: RunSummary) -> tuple[Tile, ...]:
    """The headline's numbers; that of 11 classes for CamVid only."""
    best = run.best_epoch(SCORE)
    eleven = (metric_tile(run, "camvid11.miou", "mIoU, 11 classes"),) if "camvid11" in run.values else ()
    return (
        metric_tile(run, "miou", "mIoU"),
        *eleven,
        metric_tile(run, "pixel_accuracy", "Pixel accuracy"),
        metric_tile(run, "loss", "Loss"),
        Tile("Best epoch", plain(best), "" if best is None else f"of {len(run.history)}, by validation mIoU"),
    )


def remarks(run: RunSummary) -> Iterator[str]:
    """Sentences on classes without pixels and classes never predicted, and on colours that are no class's."""
    scores = run.values.get("per_class") or {}
    absent = [name for name, found in scores.items() if not found["pixels"]]
    never = [name for name, found in scores.items() if found["pixels"] and found["precision"] is None]
    if absent:
        yield f"Without pixels in this split: {_listed(absent)}. Their figures are n/a, and means leave them out."
    if never:
        yield f"Never predicted: {_listed(never)}. Their precision is n/a, and their IoU counts as 0."
    if ignored := list(run.setting("train.ignore") or ()):
        yield (
            f"Not trained, as train.ignore says: {_listed(ignored)}. Their pixels have no part in the loss, and count "
            "in every other figure; those for 11 and 31 classes leave Void out."
        )
    if off := run.dataset.get("off_palette"):
        yield (
            f"{count(off)} pixels of the dataset's labels, in their own size, have colours that are no class's: they "
            "count as Void."
        )


def _listed(names: list[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"the class {quoted}" if len(names) == 1 else f"the {len(names)} classes {quoted}"


def sections(run: RunSummary) -> tuple[Section, ...]:
    """What follows the training; a section that has nothing to tell is left out."""
    made = (
        overfitting(run, "miou", "mIoU"),
        pixel_distribution(run),
        class_ious(run),
        iou_bins(run),
        pixel_confusion(run),
        boundary(run),
        scene_samples(run),
        worst(run),
        paired_augmentation(run),
    )
    return tuple(section for section in made if section is not None)


REPORT = TaskReport(
    unit="images",
    metrics=METRICS,
    score=SCORE,
    score_name="validation mIoU",
    curves=CURVES,
    columns=COLUMNS,
    columns_explained=COLUMNS_EXPLAINED,
    samples=samples,
    tiles=tiles,
    remarks=remarks,
    sections=sections,
)
