"""Contact sheets: thumbnails in a grid, each with what was predicted of it. Right and wrong are told apart by word,
sign and frame as well as by colour (Okabe and Ito, 2008)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionjobs.data.camvid_classes import Colour
from visionjobs.inference.text_font import font
from visionjobs.report.figures import BLUE, VERMILLION, short

SHEETS, PER_SHEET, COLUMNS = 5, 48, 8

THUMBNAIL, FRAME, GAP = 168, 8, 10
LINE, HEADING, MARGIN = 19, 30, 14
TEXT = 14
LEGEND, SWATCH = 24, 15
"""All in pixels."""

CELL = THUMBNAIL + 2 * FRAME
TALL = CELL + 3 * LINE
INK, GRAY = "#1A1A1A", "#5F6368"
DASH, SPACE = 12, 8


@dataclass(frozen=True)
class Thumbnail:
    """What a sheet shows of an image. pixels: uint8 RGB [h, w, 3], at most THUMBNAIL a side; label: None if unknown;
    share: between 0 and 1, the probability of the predicted class (of boxes: of the most confident one) or, of a mask,
    the largest class's share of the pixels, or None; occurring: classes whose colours are to be seen; note: a line
    below, where the label is not known."""

    pixels: npt.NDArray[np.uint8]
    name: str
    predicted: str
    share: float | None
    label: str | None
    occurring: tuple[str, ...] = ()
    note: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the label was predicted, None where it is not known."""
        return None if self.label is None else self.predicted == self.label


class ContactSheets:
    """`contact-sheet-001.png` and so on in `folder`, of the first SHEETS * PER_SHEET images: 20 MB of thumbnails,
    kept to the end, as only then it is known of how many images they are the first. colours: of the classes that the
    thumbnails show as colours; a sheet explains those that occur in it."""

    def __init__(self, folder: Path, title: str, colours: Mapping[str, Colour] | None = None) -> None:
        self._folder, self._title, self._colours = folder, title, colours or {}
        self._thumbnails: list[Thumbnail] = []

    @property
    def wanted(self) -> bool:
        """Whether there is room for one more."""
        return len(self._thumbnails) < SHEETS * PER_SHEET

    def add(self, thumbnail: Thumbnail) -> None:
        """Show one more image, after those before it."""
        self._thumbnails.append(thumbnail)

    def finish(self, predicted: int) -> None:
        """Draw them all. predicted: images that might have been added, had there been room."""
        for number, start in enumerate(range(0, len(self._thumbnails), PER_SHEET), 1):
            shown = self._thumbnails[start : start + PER_SHEET]
            heading = f"{self._title}: images {start + 1} to {start + len(shown)} of {predicted:,}"
            occurring = {name for thumbnail in shown for name in thumbnail.occurring}
            explained = {name: colour for name, colour in self._colours.items() if name in occurring}
            sheet(heading, shown, explained).save(self._folder / f"contact-sheet-{number:03}.png")


def thumbnail_pixels(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """uint8 RGB [H, W, 3] of an image that was `width` x `height` before it was resized -> a thumbnail in its shape."""
    scale = THUMBNAIL / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def sheet(heading: str, thumbnails: list[Thumbnail], colours: Mapping[str, Colour] | None = None) -> Image.Image:
    """At most PER_SHEET thumbnails, COLUMNS in a row, below a legend of the colours. RGB, as wide as its columns."""
    colours = colours or {}
    rows, lines = -(-len(thumbnails) // COLUMNS), -(-len(colours) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * (CELL + GAP) - GAP
    start = MARGIN + HEADING + lines * LEGEND
    image = Image.new("RGB", (width, start + MARGIN + rows * (TALL + GAP) - GAP), "white")
    draw = ImageDraw.Draw(image)
    legend = ""
    if any(thumbnail.label is not None for thumbnail in thumbnails):
        legend = "   ✓ right, thin frame   ✗ wrong, dashed frame"
    elif colours:
        legend = "   below each: its largest class, and that class's share of the pixels"
    draw.text((MARGIN, MARGIN), _fitted(heading, width - 2 * MARGIN, legend, bold=True), INK, font(TEXT, bold=True))
    for number, (name, colour) in enumerate(colours.items()):
        row, column = divmod(number, COLUMNS)
        _swatch(draw, name, colour, MARGIN + column * (CELL + GAP), MARGIN + HEADING + row * LEGEND)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, COLUMNS)
        _cell(image, draw, thumbnail, MARGIN + column * (CELL + GAP), start + row * (TALL + GAP))
    return image


def _swatch(draw: ImageDraw.ImageDraw, name: str, colour: Colour, left: int, top: int) -> None:
    draw.rectangle((left, top, left + SWATCH, top + SWATCH), fill=colour, outline=GRAY)
    draw.text((left + SWATCH + 6, top - 1), _fitted(name, CELL - SWATCH - 6), INK, font(TEXT, bold=False))


def _cell(image: Image.Image, draw: ImageDraw.ImageDraw, thumbnail: Thumbnail, left: int, top: int) -> None:
    height, width, _ = thumbnail.pixels.shape
    image.paste(Image.fromarray(thumbnail.pixels), (left + (CELL - width) // 2, top + (CELL - height) // 2))
    box = (left, top, left + CELL - 1, top + CELL - 1)
    match thumbnail.right:
        case True:
            draw.rectangle(box, outline=BLUE, width=2)
            verdict = "✓ right"
        case False:
            _dashed(draw, box)
            verdict = f"✗ wrong, is {thumbnail.label}"
        case None:
            draw.rectangle(box, outline="#C4C8CC", width=1)
            verdict = thumbnail.note
    share = "" if thumbnail.share is None else f"  {_percent(thumbnail.share)}"
    lines = [
        (_fitted(thumbnail.predicted, CELL, share, bold=True), INK, True),
        (_fitted(verdict, CELL), INK, False),
        (_fitted(thumbnail.name, CELL), GRAY, False),
    ]
    below = top + CELL + 3
    for text, ink, bold in [line for line in lines if line[0]]:
        draw.text((left, below), text, ink, font(TEXT, bold=bold))
        below += LINE


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """A frame of thick dashes, which no colour is needed to tell from a line."""
    left, top, right, bottom = box
    for start in range(left, right, DASH + SPACE):
        end = min(start + DASH, right)
        draw.rectangle((start, top, end, top + 5), VERMILLION)
        draw.rectangle((start, bottom - 5, end, bottom), VERMILLION)
    for start in range(top, bottom, DASH + SPACE):
        end = min(start + DASH, bottom)
        draw.rectangle((left, start, left + 5, end), VERMILLION)
        draw.rectangle((right - 5, start, right, end), VERMILLION)


def _percent(share: float) -> str:
    """Never rounded up to a certainty that was not there."""
    return f"{min(share, 0.99):.0%}" if share < 1 else "100%"


def _fitted(text: str, width: int, end: str = "", *, bold: bool = False) -> str:
    """`text` cut so that it and `end` are at most `width` pixels wide."""
    letters, whole = font(TEXT, bold=bold), short(text, 200)
    length = len(whole)
    while length > 1 and letters.getlength(short(whole, length) + end) > width:
        length -= 1
    return short(whole, length) + end if whole else end
