"""Masks as pictures: in their classes' colours, over the images they are of. Numpy and Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""RGB [H, W, 3], or a mask [H, W] of class numbers."""

Colours = Sequence[Sequence[int]]
"""Red, green and blue, 0 to 255, of each class in the order of the numbers."""

OPACITY = 0.5
"""Of the colours over an image."""

LINE_A_SIDE = 400
"""A boundary is one pixel wide for each so many pixels of the image's longer side."""

GAP = 4
"""Pixels between pictures side by side."""


def palette_image(mask: Pixels, colours: Colours) -> Image.Image:
    """uint8 [H, W] -> mode P: the pixel values are the class numbers, the palette holds the classes' colours."""
    image = Image.fromarray(mask)
    image.putpalette([value for colour in colours for value in colour])
    return image


def coloured(mask: Pixels, colours: Colours) -> Pixels:
    """uint8 [H, W] -> RGB [H, W, 3] in the classes' colours."""
    return np.array(colours, np.uint8)[mask]


def only_class(mask: Pixels, number: int, colours: Colours) -> Pixels:
    """RGB [H, W, 3]: this class in its colour and the rest black. A class that is black itself is shown white."""
    colour = colours[number] if any(colours[number]) else (255, 255, 255)
    shown = np.zeros((*mask.shape, 3), np.uint8)
    shown[mask == number] = colour
    return shown


def overlay(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The colours of `mask` (mode P) half transparent over `image` (RGB) of the same size, boundaries in white."""
    mixed = Image.blend(image, mask.convert("RGB"), OPACITY)
    lines = _boundaries(np.asarray(mask), max(1, round(max(mask.size) / LINE_A_SIDE)))
    mixed.paste((255, 255, 255), mask=Image.fromarray(lines))
    return mixed


def beside(*pictures: Pixels) -> Pixels:
    """RGB pictures of one size from left to right, with a white gap between them."""
    gap = np.full((len(pictures[0]), GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _boundaries(mask: Pixels, width: int) -> Pixels:
    """255 where one of the next `width` pixels to the right or below is of another class, else 0."""
    lines = np.zeros(mask.shape, np.uint8)
    for step in range(1, min(width, *mask.shape) + 1):
        lines[:, :-step][mask[:, step:] != mask[:, :-step]] = 255
        lines[:-step][mask[step:] != mask[:-step]] = 255
    return lines
