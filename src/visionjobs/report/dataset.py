"""Figures of a dataset: how many images of which class, and what they look like."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from visionjobs.data.cache import LocalDataset
from visionjobs.data.manifest import Manifest
from visionjobs.report.dataset_boxes import box_dataset_figures
from visionjobs.report.dataset_masks import mask_dataset_figures
from visionjobs.report.figures import BLUE, GREEN, ORANGE

OKABE_ITO = (BLUE, ORANGE, GREEN)
"""Told apart with every kind of colour vision (Okabe and Ito, Color Universal Design, 2008)."""

COLUMNS = 5
"""Sample images a class."""


def draw_dataset(dataset: LocalDataset, folder: Path) -> list[Path]:
    """Write counts.png (bars by class and split), shares.png (a pie) and samples.png (a grid) into `folder`; for a
    segmentation dataset those of dataset_masks.py, for a detection dataset those of dataset_boxes.py."""
    folder.mkdir(parents=True, exist_ok=True)
    if dataset.manifest.task != "classification":
        is_boxes = dataset.manifest.task == "detection"
        drawn = box_dataset_figures(dataset) if is_boxes else mask_dataset_figures(dataset)
        for name, data in drawn.items():
            (folder / name).write_bytes(data)
        return [folder / name for name in drawn]
    figures = {
        "counts.png": counts_figure(dataset.manifest),
        "shares.png": shares_figure(dataset.manifest),
        "samples.png": samples_figure(dataset),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in figures]


def counts_figure(manifest: Manifest) -> Figure:
    """Horizontal bars: images of each class, the splits end to end."""
    figure = Figure(figsize=(8, 1.5 + 0.35 * len(manifest.classes)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(manifest.classes))
    for (split, counts), colour in zip(manifest.counts.items(), OKABE_ITO, strict=False):
        numbers = np.array([counts[name] for name in manifest.classes])
        bars = axes.barh(manifest.classes, numbers, left=left, color=colour, label=split)
        axes.bar_label(bars, label_type="center", color="white" if colour == OKABE_ITO[0] else "black")
        left += numbers
    axes.invert_yaxis()
    axes.set(xlabel="images", ylabel="class", title=f"{manifest.name}: images by class and split")
    axes.legend(title="split", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def shares_figure(manifest: Manifest) -> Figure:
    """A pie: each class's share of all images."""
    numbers = [sum(counts[name] for counts in manifest.counts.values()) for name in manifest.classes]
    colours = mpl.colormaps["cividis"](np.linspace(0.5, 1, len(numbers)))  # light enough for black text
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    labels = [f"{name} ({number:,})" for name, number in zip(manifest.classes, numbers, strict=True)]
    wedge = {"edgecolor": "white", "linewidth": 1.5}
    axes.pie(numbers, labels=labels, colors=list(colours), autopct="%.1f%%", pctdistance=0.8, wedgeprops=wedge)
    axes.set_title(f"{manifest.name}: share of each class in {sum(numbers):,} images")
    return figure


def samples_figure(dataset: LocalDataset) -> Figure:
    """A row of training images a class, as they were packed."""
    manifest, train = dataset.manifest, dataset.split("train")
    rows = len(manifest.classes)
    figure = Figure(figsize=(1.5 * COLUMNS + 1.5, 1.4 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for label, name in enumerate(manifest.classes):
        chosen = np.flatnonzero(train.labels == label)
        chosen = chosen[np.linspace(0, len(chosen) - 1, min(COLUMNS, len(chosen))).astype(int)]
        for axes in grid[label]:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, image in zip(grid[label], train.read(chosen), strict=False):
            axes.imshow(image)
        grid[label, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(f"{manifest.name}: training images, {manifest.size[0]}x{manifest.size[1]} pixels")
    return figure
