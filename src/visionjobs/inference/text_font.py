"""The letters of pictures that Pillow draws."""

from __future__ import annotations

from functools import cache
from typing import Any

from matplotlib import font_manager
from PIL import ImageFont

from visionjobs.report.figures import STYLE


@cache
def font(size: int, *, bold: bool) -> Any:
    """The font that comes with matplotlib: Latin, Greek, Cyrillic and more. size: in pixels."""
    properties = font_manager.FontProperties(str(STYLE["font.family"]), weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(properties), size)
