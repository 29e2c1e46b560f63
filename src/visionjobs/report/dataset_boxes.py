"""Figures of a detection dataset: boxes and images of each class, how large the objects are, how they look."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image, ImageDraw

from visionjobs.boxes import SIZES, Floats, Truth, of_size
from visionjobs.data.cache import LocalDataset
from visionjobs.data.coco_dataset import BoxSplit, decode_rgb, open_boxes
from visionjobs.inference.text_font import font
from visionjobs.report.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILLION, png, short
from visionjobs.report.figures_bars import split_bars
from visionjobs.report.figures_sheet import Picture, SheetRow, sheet

SAMPLES, COLUMNS = 6, 2

DPI = 220
"""Of the sheet of images: 1056 pixels wide."""

PANEL = 520
"""Pixels that a sample image is wide, so that the names beside its boxes can be read."""

LETTERS = 13
"""Their height in pixels."""

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Of the boxes, over and over: the class is written beside each."""

DARK = (BLUE, VERMILLION, GREEN, PURPLE)
"""Those that white letters can be read on."""


def box_dataset_figures(dataset: LocalDataset) -> dict[str, bytes]:
    """File name -> PNG: boxes.png and images.png (bars by class and split), areas.png (objects by their size),
    samples.png (images with their boxes)."""
    manifest = dataset.manifest
    splits = {split: open_boxes(dataset, split) for split in manifest.counts}
    boxes, images = (
        {split: [part[split].get(name, 0) for name in manifest.classes] for split in splits}
        for part in (manifest.boxes, manifest.counts)
    )
    return {
        "boxes.png": split_bars(manifest.classes, boxes, "boxes"),
        "images.png": split_bars(manifest.classes, images, "images"),
        "areas.png": areas_figure({split: opened.truth for split, opened in splits.items()}),
        "samples.png": samples_sheet(next(iter(splits.values()))),
    }


def areas_figure(truths: Mapping[str, Truth]) -> bytes:
    """For each split a histogram of the objects' areas on a logarithmic axis, and how many are small, medium, large."""
    medium, large = SIZES["medium"][0], SIZES["large"][0]
    with rc_context({**STYLE, "axes.grid.axis": "y", "axes.axisbelow": True}):
        figure = Figure(figsize=(8, 0.4 + 2.6 * len(truths)), dpi=120, layout="constrained")
        panels = figure.subplots(len(truths), 1, squeeze=False)[:, 0]
        for axes, (split, truth) in zip(panels, truths.items(), strict=True):
            areas = truth.areas[~truth.crowd]
            steps = np.arange(-29, max(14, 2 + math.ceil(9 * math.log(areas.max(initial=1) / medium, large / medium))))
            edges = medium * (large / medium) ** (steps / 9)  # so that no bar belongs to two sizes
            axes.hist(areas.clip(edges[0]), edges.tolist(), color=BLUE)
            axes.set(xscale="log", xlim=(edges[0], edges[-1]), title=f"{split}: {_by_size(areas)}", ylabel="boxes")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            for limit in (medium, large):
                axes.axvline(limit, color="#555555", linewidth=1.2, dashes=(2, 2))
        panels[-1].set_xlabel("area of the object in square pixels; dashed: 32 x 32 and 96 x 96")
        return png(figure)


def _by_size(areas: Floats) -> str:
    numbers = {size: int(of_size(areas, size).sum()) for size in SIZES if size != "all"}
    return ", ".join(
        f"{number:,} {size} ({100 * number / len(areas):.0f} %)" if len(areas) else f"{number} {size}"
        for size, number in numbers.items()
    )


def samples_sheet(split: BoxSplit) -> bytes:
    """Images, evenly over those that have boxes, each with its boxes and their classes."""
    filled = np.unique(split.truth.images)
    chosen = filled[np.linspace(0, len(filled) - 1, min(SAMPLES, len(filled))).astype(np.int64)].tolist()
    pictures = [Picture(sample(split, index), (short(split.truth.paths[index], 40),)) for index in chosen]
    rows = [SheetRow(tuple(pictures[start : start + COLUMNS])) for start in range(0, len(pictures), COLUMNS)]
    return sheet(rows or [SheetRow((), "no image has a box")], COLUMNS, DPI)


def sample(split: BoxSplit, index: int) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]: an image, PANEL pixels wide, with its boxes; a crowd region is grey and called so."""
    truth = split.truth.where(split.truth.images == index)
    pixels = Image.fromarray(decode_rgb(split.encoded(index), split.truth.paths[index]))
    scale = PANEL / pixels.width
    picture = pixels.resize((PANEL, max(1, round(scale * pixels.height))), Image.Resampling.BILINEAR)
    draw, letters = ImageDraw.Draw(picture), font(LETTERS, bold=True)
    order = np.argsort(-truth.areas)  # small ones on top, and the names above all frames
    categories, crowds = truth.categories[order].tolist(), truth.crowd[order].tolist()
    colours = ["#555555" if crowd else COLOURS[k % len(COLOURS)] for k, crowd in zip(categories, crowds, strict=True)]
    boxes = (scale * truth.boxes[order]).tolist()
    for (x, y, width, height), colour in zip(boxes, colours, strict=True):
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=2)
    for (x, y, _, _), category, crowd, colour in zip(boxes, categories, crowds, colours, strict=True):
        name = f"{short(truth.classes[category])}{' (crowd)' if crowd else ''}"
        right, bottom = draw.textbbox((0, 0), name, letters)[2:]
        left, top = min(x, max(0, PANEL - right - 4)), max(0, y - bottom - 2)
        draw.rectangle((left, top, left + right + 4, top + bottom + 2), fill=colour)
        draw.text((left + 2, top), name, "white" if crowd or colour in DARK else "black", letters)
    return np.asarray(picture)
