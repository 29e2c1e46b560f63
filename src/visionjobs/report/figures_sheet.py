"""Sheets of images with a caption each, in rows that may have a heading."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionjobs.report.figures import STYLE, png, short

WIDTH = 4.8
"""Of a sheet in inches: its letters of 9 points can be read where the sheet is as wide as a phone."""

MARGIN, GAP, LINE = 0.08, 0.1, 0.165
HEADING, BELOW = 0.21, 0.14
DPI = 130


@dataclass(frozen=True)
class Picture:
    """image: uint8 RGB [H, W, 3]; caption: lines to stand below it."""

    image: npt.NDArray[np.uint8]
    caption: tuple[str, ...]


@dataclass(frozen=True)
class SheetRow:
    """Pictures from left to right, at most as many as the sheet has columns, and what stands above them: either may be
    missing."""

    pictures: tuple[Picture, ...]
    heading: str = ""


def sheet(rows: Sequence[SheetRow], columns: int, dpi: int = DPI) -> bytes:
    """The rows from top to bottom, each picture as wide as a column. PNG, WIDTH times dpi pixels wide: 624."""
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    heights = [_height(row, width) for row in rows]
    with rc_context(STYLE):
        # one system of axes for all, in inches from the upper left corner: a hundred of them would take seconds
        figure = Figure(figsize=(WIDTH, sum(heights) + MARGIN), dpi=dpi)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(sum(heights) + MARGIN, 0))
        top = 0.0
        for row, height in zip(rows, heights, strict=True):
            _draw(axes, row, top, width)
            top += height
        axes.set(xlim=(0, WIDTH), ylim=(sum(heights) + MARGIN, 0), aspect="auto")
        axes.axis("off")
        return png(figure)


def _height(row: SheetRow, width: float) -> float:
    tallest = max((_tall(picture, width) for picture in row.pictures), default=0.0)
    lines = max((len(picture.caption) for picture in row.pictures), default=0)
    return MARGIN + (HEADING if row.heading else 0) + tallest + lines * LINE + BELOW


def _tall(picture: Picture, width: float) -> float:
    return float(width * picture.image.shape[0] / picture.image.shape[1])


def _draw(axes: Axes, row: SheetRow, top: float, width: float) -> None:
    top += MARGIN
    if row.heading:
        axes.text(MARGIN, top, short(row.heading, 54), fontsize=9.5, weight="bold", va="top")
        top += HEADING
    for number, picture in enumerate(row.pictures):
        left, tall = MARGIN + number * (width + GAP), _tall(picture, width)
        axes.imshow(picture.image, extent=(left, left + width, top + tall, top))
        for line, text in enumerate(picture.caption):
            axes.text(left, top + tall + 0.04 + line * LINE, text, fontsize=9, va="top")


def wrapped(text: str, columns: int) -> tuple[str, ...]:
    """A name as at most two lines of a caption in a sheet of so many columns."""
    letters = round(52 / columns)
    return tuple(textwrap.wrap(short(text, 2 * letters - 2), letters, max_lines=2, placeholder="…")) or ("",)
