"""Figures of images with masks: panels in the classes' colours, the mistakes among the pixels, and their legend."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from visionjobs.inference.overlay import Colours
from visionjobs.report.figures import ORANGE, SKY, STYLE, VERMILLION, png, short
from visionjobs.report.figures_sheet import DPI, Picture, SheetRow, sheet

Pixels = npt.NDArray[np.uint8]

PANEL = 320
"""Pixels of a panel's longer side at most: a report holds a hundred of them."""

PHOTO_COLOURS, MASK_COLOURS = 144, 112
"""Of a figure, 256 in all: photographs as small as these look no better with more."""

FRAME = (140, 140, 140)
"""Neither sky nor Void ends at a frame of this grey, on white or on black."""

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in to_rgb(colour))
    return red, green, blue


WRONG, MISSED, FALSE = _rgb(VERMILLION), _rgb(ORANGE), _rgb(SKY)


def panel(picture: Pixels, caption: str, *, blend: bool = False) -> Picture:
    """RGB [H, W, 3], made no longer than PANEL, in a frame. blend: mix pixels where it is made smaller."""
    image = Image.fromarray(picture)
    scale = min(1.0, PANEL / max(image.size))
    size = (max(3, round(image.width * scale)), max(3, round(image.height * scale)))
    small = np.array(image.resize(size, Image.Resampling.BOX if blend else Image.Resampling.NEAREST))
    small[[0, -1]], small[:, [0, -1]] = FRAME, FRAME
    return Picture(small, (caption,) if caption else ())


def wrong_pixels(image: Pixels, truth: Pixels, predicted: Pixels) -> Pixels:
    """RGB [H, W, 3]: the image in pale grey, its wrong pixels in WRONG. image: RGB; the masks: uint8 [H, W]."""
    grey = (0.45 * image.mean(axis=2, keepdims=True) + 140).astype(np.uint8)
    marked = np.broadcast_to(grey, image.shape).copy()
    marked[truth != predicted] = WRONG
    return marked


def found_pixels(truth: Pixels, predicted: Pixels, number: int) -> Pixels:
    """RGB [H, W, 3] of one class: found white, missed MISSED, wrongly said to be it FALSE, the rest black."""
    is_it, said = truth == number, predicted == number
    marked = np.zeros((*truth.shape, 3), np.uint8)
    for where, colour in ((is_it & said, WHITE), (is_it & ~said, MISSED), (said & ~is_it, FALSE)):
        marked[where] = colour
    return marked


def mask_sheet(rows: Sequence[SheetRow], columns: int, colours: Colours, dpi: int = DPI) -> bytes:
    """A sheet (figures_sheet.py) with few colours: a third of the bytes. Those of the masks stay as they are."""
    drawn = Image.open(io.BytesIO(sheet(rows, columns, dpi))).convert("RGB")
    return keep_colours(drawn, [WHITE, BLACK, FRAME, WRONG, MISSED, FALSE, *((r, g, b) for r, g, b in colours)])


def keep_colours(drawn: Image.Image, colours: Iterable[tuple[int, int, int]]) -> bytes:
    """An RGB image as a PNG of 256 colours: these as they are (the first MASK_COLOURS), the others nearly so."""
    flat = sorted(set(colours))[:MASK_COLOURS]
    few = drawn.quantize(PHOTO_COLOURS, Image.Quantize.MEDIANCUT)
    codes, known = (_codes(np.array(found, np.uint32)) for found in (drawn, flat))
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    index = np.where(known[place] == codes, place + PHOTO_COLOURS, np.asarray(few)).astype(np.uint8)
    picture = Image.fromarray(index)
    photo = (few.getpalette() or []) + 3 * PHOTO_COLOURS * [0]
    picture.putpalette(photo[: 3 * PHOTO_COLOURS] + [value for colour in flat for value in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _codes(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """[..., 3] -> [...], a number a colour, in the order of the colours."""
    return np.asarray((colours << np.array([16, 8, 0], np.uint32)).sum(axis=-1, dtype=np.uint32))


def colour_legend(class_names: Sequence[str], colours: Colours) -> bytes:
    """A swatch and a name a class, in columns from top to bottom."""
    columns = min(3, max(1, len(class_names)))
    rows = math.ceil(len(class_names) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8, 0.12 + 0.2 * rows), dpi=160)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 4.8), ylim=(0.12 + 0.2 * rows, 0))
        for at, (name, colour) in enumerate(zip(class_names, colours, strict=True)):
            left, top = 0.06 + (at // rows) * 4.8 / columns, 0.06 + 0.2 * (at % rows)
            box = Rectangle((left, top + 0.03), 0.24, 0.14, facecolor=[value / 255 for value in colour],
                            edgecolor="#555555", linewidth=0.6)  # fmt: skip
            axes.add_patch(box)
            axes.text(left + 0.31, top + 0.1, short(name, 20), fontsize=8, va="center_baseline")
        axes.axis("off")
        return png(figure)
