"""The colours of a label image <-> class numbers, by one table look-up on 24-bit colours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.data.camvid_classes import Colour

Pixels = npt.NDArray[np.uint8]

NO_CLASS = 255
"""The number of a colour that is no class's: there are at most 255 classes, 0 to 254."""

SHOWN_COLOURS = 5
"""Of a label's off-palette colours, the most frequent that are named."""


@dataclass(frozen=True, slots=True)
class OffPalette:
    """A label with colours that are no class's. pixels: how many, in its own size; colours: the most frequent ones, as
    #rrggbb, with their pixels."""

    path: str
    pixels: int
    colours: tuple[tuple[str, int], ...]


class ColourTable:
    """The class number of every colour there is: 2^24 entries of a byte. May be read from several threads."""

    def __init__(self, colours: Iterable[Colour]) -> None:
        """`colours`: red, green and blue of each class, all different, in the order of the classes."""
        listed = np.array(list(colours), np.uint8).reshape(-1, 3)
        if len(listed) > NO_CLASS or len(np.unique(listed, axis=0)) < len(listed):
            raise ValueError(f"expected at most {NO_CLASS} different colours, got {len(listed)}")
        self._numbers = np.full(1 << 24, NO_CLASS, np.uint8)
        self._numbers[_codes(listed)] = np.arange(len(listed))
        self.colours = listed

    def numbers(self, label: Pixels) -> Pixels:
        """Colours uint8 [..., 3], RGB -> class numbers uint8 [...], NO_CLASS where the colour is no class's."""
        return self._numbers.take(_codes(label))

    def paint(self, numbers: Pixels) -> Pixels:
        """Class numbers uint8 [...] -> colours uint8 [..., 3], RGB. Raises IndexError for a number of no class."""
        return self.colours[numbers]


def off_palette(path: str, colours: Pixels) -> OffPalette:
    """What to tell of a label whose off-palette pixels are `colours`, uint8 [n, 3]; equally frequent ones by colour."""
    codes, counts = np.unique(_codes(colours), return_counts=True)
    order = np.lexsort((codes, -counts))[:SHOWN_COLOURS]
    most = tuple((f"#{codes[place]:06x}", int(counts[place])) for place in order)
    return OffPalette(path, len(colours), most)


def _codes(colours: Pixels) -> npt.NDArray[np.int64]:
    """uint8 [..., 3] -> 0xRRGGBB [...], in the type that numpy indexes with."""
    codes = colours[..., 0].astype(np.int64)
    for channel in (1, 2):
        codes <<= 8
        codes |= colours[..., channel]
    return codes
