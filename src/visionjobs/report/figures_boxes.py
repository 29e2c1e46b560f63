"""Photographs with boxes: each kind in its own colour, dashes and letters, with as many labels as find room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from visionjobs.report.figures import STYLE, short
from visionjobs.report.figures_masks import keep_colours

WIDE, TALL = 640, 520
"""Pixels of a figure: a photograph is made as large as fits."""

LETTERS = 20
"""Pixels of a label's letters: where the figure is as wide as a phone, they can still be read."""

LABELS = 14
"""Of a photograph: more would hide it."""

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

WHITE, INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True)
class Look:
    """How boxes of a kind are drawn. words: in the legend; dashes: pixels on and off in turn, () for a whole line."""

    words: str
    colour: Colour
    dashes: tuple[int, ...]
    width: int = 3

    @property
    def ink(self) -> Colour:
        """Of letters on its colour."""
        red, green, blue = self.colour
        return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 130 else WHITE


LOOKS = {
    "right": Look("right", (0, 158, 115), ()),
    "Miss": Look("Miss: not found", (230, 159, 0), (18, 7)),
    "Cls": Look("Cls: wrong class", (213, 94, 0), ()),
    "Loc": Look("Loc: badly placed", (0, 114, 178), (8, 5)),
    "Both": Look("Both: class and place", (240, 228, 66), (14, 5, 3, 5)),
    "Dupe": Look("Dupe: duplicate", (86, 180, 233), (14, 5)),
    "Bkg": Look("Bkg: background", (204, 121, 167), (4, 4)),
    "true": Look("true box", WHITE, (3, 5), 2),
    "crowd": Look("crowd region", (170, 170, 170), (10, 10), 2),
    "suspect": Look("what was detected", (213, 94, 0), (), 4),
}


@dataclass(frozen=True)
class Mark:
    """A box to draw: kind, one of LOOKS; box: x, y, width, height in pixels of the image at its own size; text: its
    label, "" for none. Later ones lie above earlier ones, and have their labels first."""

    kind: str
    box: Box
    text: str = ""


def marked(photo: Image.Image, size: tuple[int, int], marks: Sequence[Mark]) -> bytes:
    """The photograph with all boxes, and with up to LABELS labels that do not overlap. PNG of few colours, WIDE pixels
    wide.

    size: height and width of the image that the boxes are of.
    """
    scale = min(WIDE / photo.width, TALL / photo.height)
    shown = photo.convert("RGB").resize(
        (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.BICUBIC
    )
    drawn, margin = Image.new("RGB", (WIDE, max(TALL // 4, shown.height)), WHITE), (WIDE - shown.width) // 2
    drawn.paste(shown, (margin, 0))
    across, down = shown.width / (size[1] or photo.width), shown.height / (size[0] or photo.height)
    pen = ImageDraw.Draw(drawn)
    placed = [
        (mark, (margin + x * across, y * down, margin + (x + width) * across, (y + height) * down))
        for mark in marks
        for x, y, width, height in [mark.box]
    ]
    for mark, corners in placed:
        _outline(pen, corners, LOOKS[mark.kind], drawn.size)
    taken: list[Box] = []
    for mark, corners in reversed(placed):
        if mark.text and len(taken) < LABELS and (area := _free_place(corners, mark.text, drawn.size, taken)):
            _label(pen, area, mark.text, LOOKS[mark.kind])
            taken.append(area)
    return keep_colours(drawn, [INK, WHITE, *(look.colour for look in LOOKS.values())])


def legend(kinds: Iterable[str]) -> bytes:
    """How the boxes of these kinds look, on grey as between the bright and the dark of a photograph."""
    shown = [LOOKS[kind] for kind in kinds]
    columns, height = 2, 40
    rows = math.ceil(len(shown) / columns)
    drawn = Image.new("RGB", (WIDE, rows * height + 8), WHITE)
    pen = ImageDraw.Draw(drawn)
    for at, look in enumerate(shown):
        left, top = 8 + (at // rows) * WIDE // columns, 6 + (at % rows) * height
        pen.rectangle((left, top, left + 64, top + 32), fill=(120, 124, 128))
        _outline(pen, (left + 6, top + 5, left + 58, top + 27), look, drawn.size)
        pen.text((left + 76, top + 16), look.words, INK, _font(), anchor="lm")
    return keep_colours(drawn, [INK, WHITE, *(look.colour for look in shown)])


def _outline(pen: ImageDraw.ImageDraw, corners: Box, look: Look, size: tuple[int, int]) -> None:
    """Four lines inside the image, dark below so that they show on any photograph."""
    inset = look.width // 2 + 1
    left, right = (min(max(value, inset), size[0] - 1 - inset) for value in corners[::2])
    top, bottom = (min(max(value, inset), size[1] - 1 - inset) for value in corners[1::2])
    sides = (((left, top), (right, top)), ((right, top), (right, bottom)), ((right, bottom), (left, bottom)),
             ((left, bottom), (left, top)))  # fmt: skip
    for width, colour in ((look.width + 2, INK), (look.width, look.colour)):
        for start, end in sides:
            for piece in _dashed(start, end, look.dashes):
                pen.line(piece, colour, width)


def _dashed(
    start: tuple[float, float], end: tuple[float, float], dashes: tuple[int, ...]
) -> Iterable[tuple[float, float, float, float]]:
    length = math.dist(start, end)
    if not dashes or length < 1:
        yield (*start, *end)
        return
    along, turn = 0.0, 0
    while along < length:
        stop = min(length, along + dashes[turn % len(dashes)])
        if turn % 2 == 0:
            a, b = (
                tuple(from_ + (to - from_) * at / length for from_, to in zip(start, end, strict=True))
                for at in (along, stop)
            )
            yield (a[0], a[1], b[0], b[1])
        along, turn = stop, turn + 1


def _free_place(corners: Box, text: str, size: tuple[int, int], taken: Sequence[Box]) -> Box | None:
    """left, top, right, bottom of a label: above the box, else inside at its top, else below it; None without room."""
    wide, tall = _font().getlength(text) + 8, LETTERS + 5
    left = max(0.0, min(corners[0] - 1, size[0] - wide))
    for top in (corners[1] - tall, corners[1] + 2, corners[3] + 1):
        area = (left, top, left + wide, top + tall)
        inside = top >= 0 and top + tall <= size[1] and wide <= size[0]
        if inside and not any(_overlap(area, other) for other in taken):
            return area
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _label(pen: ImageDraw.ImageDraw, area: Box, text: str, look: Look) -> None:
    pen.rectangle(area, fill=look.colour, outline=INK)
    pen.text((area[0] + 4, (area[1] + area[3]) / 2), text, look.ink, _font(), anchor="lm")


def name_of(text: str) -> str:
    """A class's name as a label has room for it."""
    return short(text, 16)


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont(str(STYLE["font.family"])), LETTERS)
