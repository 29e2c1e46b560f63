"""Boxes drawn on images, each with its class and confidence, in colours that repeat over the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionjobs.inference.detector import Found
from visionjobs.inference.text_font import font
from visionjobs.report.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION

COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE)
"""Okabe and Ito's (2008); the class is written beside its box, too."""

LINE_A_SIDE = 300
"""A line is one pixel wide for each so many pixels of the image's longer side."""

TEXT_A_SIDE = 45
"""The same of the height of letters, which is 10 pixels at least."""


def draw_boxes(pixels: npt.NDArray[np.uint8], found: Found, classes: Sequence[str]) -> Image.Image:
    """uint8 RGB [H, W, 3] -> the image with its boxes, the most confident on top."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    side = max(image.size)
    line, letters = max(2, round(side / LINE_A_SIDE)), font(max(10, round(side / TEXT_A_SIDE)), bold=False)
    for (x, y, width, height), score, category in reversed(_rows(found)):
        colour = _colour(category)
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        text = f"{classes[category]} {score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, letters)
        start = max(0.0, min(x, image.width - (right - left) - 4))
        above = max(0.0, y - (bottom - top) - 4)
        draw.rectangle((start, above, start + right - left + 4, above + bottom - top + 4), colour)
        draw.text((start + 2 - left, above + 2 - top), text, _ink(colour), letters)
    return image


def draw_thumbnail(pixels: npt.NDArray[np.uint8], found: Found, width: int) -> npt.NDArray[np.uint8]:
    """uint8 RGB [h, w, 3] of an image that was `width` wide when the boxes were found -> the same with their frames."""
    image = Image.fromarray(pixels)
    draw, scale = ImageDraw.Draw(image), image.width / width
    for box, _, category in reversed(_rows(found)):
        x, y, wide, high = (value * scale for value in box)
        draw.rectangle((x, y, x + wide, y + high), outline=_colour(category), width=2)
    return np.asarray(image)


def _rows(found: Found) -> list[tuple[list[float], float, int]]:
    return list(zip(found.boxes.tolist(), found.scores.tolist(), found.categories.tolist(), strict=True))


def _colour(category: int) -> str:
    return COLOURS[category % len(COLOURS)]


def _ink(colour: str) -> str:
    """Black or white, whichever can be read on the colour better (its luma, ITU-R BT.601)."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
