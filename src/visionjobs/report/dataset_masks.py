"""Figures of a segmentation dataset: pixels and images of each class, and what images and masks look like."""

from __future__ import annotations

import numpy as np

from visionjobs.data.cache import LocalDataset
from visionjobs.data.class_examples import class_examples
from visionjobs.data.manifest import Manifest
from visionjobs.inference.overlay import coloured, only_class
from visionjobs.report.figures import short
from visionjobs.report.figures_bars import split_bars
from visionjobs.report.figures_masks import colour_legend, mask_sheet, panel
from visionjobs.report.figures_sheet import SheetRow

EXAMPLES = 2
"""Images of each class."""

SAMPLES = 6

DPI = 220
"""Of the sheets of images, which are looked at alone: 1056 pixels wide."""


def mask_dataset_figures(dataset: LocalDataset) -> dict[str, bytes]:
    """File name -> PNG: pixels.png and images.png (bars by class and split), classes.png (each class alone),
    samples.png (images with their masks), colours.png (the classes' colours)."""
    manifest = dataset.manifest
    return {
        "pixels.png": distribution(manifest, "pixels"),
        "images.png": distribution(manifest, "images"),
        "classes.png": classes_sheet(dataset),
        "samples.png": samples_sheet(dataset),
        "colours.png": colour_legend(manifest.classes, manifest.colours),
    }


def distribution(manifest: Manifest, unit: str) -> bytes:
    """Bars: "pixels" of each class, on a logarithmic axis, or "images" that hold it; the splits side by side."""
    counts = manifest.pixels if unit == "pixels" else manifest.counts
    numbers = {split: [of_class.get(name, 0) for name in manifest.classes] for split, of_class in counts.items()}
    return split_bars(manifest.classes, numbers, unit, log=unit == "pixels")


def classes_sheet(dataset: LocalDataset) -> bytes:
    """Two training images of each class, each with the class alone in its colour beside it, the rest black (a class
    that is black itself: white); a class without pixels there is listed as absent."""
    manifest, train = dataset.manifest, dataset.split("train")
    classes, rows = class_examples(train, len(manifest.classes), EXAMPLES)
    made = []
    for number, name in enumerate(manifest.classes):
        chosen = rows[classes == number]
        pictures = []
        for image, mask in zip(train.read(chosen), train.read_masks(chosen), strict=True):
            alone = only_class(mask, number, manifest.colours)
            pictures += [panel(image, "", blend=True), panel(alone, "", blend=True)]
        made.append(SheetRow(tuple(pictures), short(name) if pictures else f"{short(name)}: absent"))
    return mask_sheet(made, 2 * EXAMPLES, manifest.colours, DPI)


def samples_sheet(dataset: LocalDataset) -> bytes:
    """Training images, evenly over the split, each with its mask beside it."""
    manifest, train = dataset.manifest, dataset.split("train")
    chosen = np.linspace(0, len(train) - 1, min(SAMPLES, len(train))).astype(np.int64)
    pairs = [
        (panel(image, "", blend=True), panel(coloured(mask, manifest.colours), ""))
        for image, mask in zip(train.read(chosen), train.read_masks(chosen), strict=True)
    ]
    rows = [
        SheetRow(tuple(picture for pair in pairs[start : start + 2] for picture in pair))
        for start in range(0, len(pairs), 2)
    ]
    return mask_sheet(rows, 4, manifest.colours, DPI)
