"""What of a segmentation run goes to wandb, besides what every run has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visionjobs.inference.overlay import beside, coloured, only_class
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import image_ious, ranked, worst_classes
from visionjobs.tracking.content_charts import bars, confusion_matrix, with_full
from visionjobs.tracking.messages import Chart, Picture, Table

SCORES = ("pixels", "accuracy", "iou", "dice", "precision", "recall")
"""Columns of the table of classes, as in metrics.json."""

BINS = ("low", "high", "classes", "precision", "recall")

KINDS = {"pixels": "pixels", "images": "counts"}
"""What a class is counted in -> the key of the manifest."""

EXAMPLE_WIDTH = 240
"""Of the training images of each class, at most about so many pixels: there are two a class, and all are uploaded."""


def tables(run: RunSummary) -> dict[str, Table]:
    """Scores of each class, bins of IoU, and pixels and images of each class in each split."""
    per_class, f = run.values.get("per_class") or {}, (run.values.get("boundary") or {}).get("per_class") or {}
    classes = (
        (name, *(scores.get(key) for key in SCORES), f.get(name, {}).get("f")) for name, scores in per_class.items()
    )
    bins = (tuple(found.get(key) for key in BINS) for found in run.values.get("iou_bins") or ())
    counted = {
        f"{split} {unit}": counts
        for unit, key in KINDS.items()
        for split, counts in with_full(run, run.dataset.get(key) or {}).items()
    }
    names = (run.dataset.get("classes") or ()) if counted else ()
    return {
        "per_class": Table(("class", *SCORES, "boundary_f"), tuple(classes)),
        "iou_bins": Table(BINS, tuple(bins)),
        "class_distribution": Table(
            ("class", *counted), tuple((name, *(counts[name] for counts in counted.values())) for name in names)
        ),
    }


def charts(run: RunSummary) -> Iterator[Chart]:
    """The confusion matrix in pixels, of the classes that are there or were predicted; pixels and images a class."""
    names, matrix = list(run.values.get("per_class") or ()), np.array(run.values.get("confusion_matrix") or ())
    if names and matrix.any():
        there = np.flatnonzero(matrix.any(axis=0) | matrix.any(axis=1))
        yield confusion_matrix([names[k] for k in there], matrix[np.ix_(there, there)].tolist())
    for unit, key in KINDS.items():
        for split, counts in with_full(run, run.dataset.get(key) or {}).items():
            yield bars(f"class {unit} {split}", counts, unit)


def pictures(run: RunSummary) -> dict[str, tuple[Picture, ...]]:
    """Each one image, truth and prediction side by side, or training image and mask."""
    colours = run.dataset.get("colours")
    if run.scenes is None or not colours:
        return {}
    found = {f"{kind}_images": tuple(_ranked(run, kind, colours)) for kind in ("best", "median", "worst")}
    return found | {
        "worst_classes": tuple(_worst_classes(run, colours)),
        "class_examples": tuple(_examples(run, colours)),
        "augmented": tuple(_augmented(run, colours)),
    }


def _ranked(run: RunSummary, kind: str, colours: list[list[int]]) -> Iterator[Picture]:
    """The best, median or worst images by their own mIoU."""
    masks, scenes = run.masks, run.scenes
    if masks is None or scenes is None:
        return
    ious = image_ious(masks)
    for row in ranked(masks).get(kind, ()):
        place = scenes.place(row)
        if place is not None:
            truth, predicted = coloured(scenes.truths[place], colours), coloured(masks.masks[row], colours)
            caption = f"{masks.paths[row]}: image, truth, prediction; mIoU {ious[row]:.4f}"
            yield Picture(beside(scenes.images[place], truth, predicted), caption)


def _worst_classes(run: RunSummary, colours: list[list[int]]) -> Iterator[Picture]:
    """The classes with the lowest IoU, in the images with most of their pixels, all other classes black."""
    masks, scenes = run.masks, run.scenes
    if masks is None or scenes is None:
        return
    for number, rows in worst_classes(masks).items():
        name = masks.classes[number]
        iou = run.value(f"per_class.{name}.iou")
        told = "" if iou is None else f" (IoU {iou:.4f})"
        for row in rows:
            place = scenes.place(row)
            if place is not None:
                truth = only_class(scenes.truths[place], number, colours)
                predicted = only_class(masks.masks[row], number, colours)
                caption = f"{name}{told}: {masks.paths[row]}: image, truth, prediction"
                yield Picture(beside(scenes.images[place], truth, predicted), caption)


def _examples(run: RunSummary, colours: list[list[int]]) -> Iterator[Picture]:
    """Training images of each class with the class alone beside them."""
    scenes, names = run.scenes, run.dataset.get("classes") or ()
    if scenes is None:
        return
    step = -(-scenes.example_images.shape[2] // EXAMPLE_WIDTH)
    for number, image, mask in zip(scenes.example_classes, scenes.example_images, scenes.examples, strict=True):
        alone = only_class(mask, int(number), colours)
        yield Picture(beside(image[::step, ::step], alone[::step, ::step]), names[number])


def _augmented(run: RunSummary, colours: list[list[int]]) -> Iterator[Picture]:
    """Training images with their masks, each followed by what training saw of it."""
    scenes = run.scenes
    if scenes is None:
        return
    originals = zip(scenes.originals, scenes.original_masks, scenes.augmented, scenes.augmented_masks, strict=True)
    for number, (image, mask, images, masks) in enumerate(originals, 1):
        yield Picture(beside(image, coloured(mask, colours)), f"image {number}: original")
        for copy, pair in enumerate(zip(images, masks, strict=True), 1):
            yield Picture(beside(pair[0], coloured(pair[1], colours)), f"image {number}: augmented {copy}")
