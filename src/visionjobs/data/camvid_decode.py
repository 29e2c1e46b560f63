"""One image with its label in colours -> uint8 image and class numbers, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from visionjobs.data.camvid_pairs import Pair
from visionjobs.data.class_dict import Palette
from visionjobs.data.colours import NO_CLASS, ColourTable, OffPalette, Pixels, off_palette
from visionjobs.data.decode import FORMATS, Decoded, UnusableImageError, decode
from visionjobs.data.importing import open_hashed, unreadable
from visionjobs.data.source import Reject, Source

LOSSLESS = ("PNG", "BMP", "GIF", "PPM")
"""Formats that keep the colours of a label as they are."""


@dataclass(frozen=True, slots=True)
class DecodedPair:
    """image: resized bilinear; sha256: of its file, raw; mask: class numbers uint8 [H, W], resized nearest; pixels: of
    each class in it, int64 [K]; off_palette: what became Void, None where every colour is a class's."""

    image: Decoded
    sha256: bytes
    mask: Pixels
    pixels: npt.NDArray[np.int64]
    off_palette: OffPalette | None


class PairDecoder:
    """Decodes pairs at `size` (height, width); may be called from several threads, within `quiet_pillow()`."""

    def __init__(self, raw: Source, size: tuple[int, int], palette: Palette, digests: Mapping[str, bytes]) -> None:
        """digests: path -> sha256, for every image and label."""
        self._raw, self._size, self._digests = raw, size, digests
        self._table, self._void = ColourTable(palette.colours.values()), palette.void

    def __call__(self, pair: Pair) -> DecodedPair | Reject:
        """The pair, or which of its files is at fault and why. Raises UserError for a file that changed meanwhile."""
        image = self._read(pair.image, self._size, _check_upright)
        if isinstance(image, Reject):
            return image
        label = self._read(pair.label, (image.height, image.width), _check_label)
        if isinstance(label, Reject):
            return label
        if (label.width, label.height) != (image.width, image.height):
            return Reject(
                pair.label,
                f"of another size than its image: {label.width}x{label.height} pixels, and {pair.image} has "
                f"{image.width}x{image.height}",
            )
        return self._with_mask(pair, image, label.pixels)

    def _read(self, path: str, size: tuple[int, int], check: Callable[[Image.Image], None]) -> Decoded | Reject:
        try:
            with open_hashed(self._raw, (path, self._digests[path])) as file:
                decoded = decode(file, size)
                _look_at(file, check)
        except UnusableImageError as error:
            return Reject(path, str(error))
        except OSError as error:
            return unreadable(path, error)
        return decoded

    def _with_mask(self, pair: Pair, image: Decoded, label: Pixels) -> DecodedPair | Reject:
        numbers = self._table.numbers(label)
        off = None
        strays = numbers == NO_CLASS
        if strays.any():
            off = off_palette(pair.label, label[strays])
            if self._void is None:
                colour, _ = off.colours[0]
                reason = f"{off.pixels:,} pixels of colours that are no class's, such as {colour}"
                return Reject(pair.label, f"off-palette: {reason}, and there is no class Void to take them")
            numbers[strays] = self._void
        height, width = self._size
        mask = np.asarray(Image.fromarray(numbers).resize((width, height), Image.Resampling.NEAREST))
        pixels = np.bincount(mask.ravel(), minlength=len(self._table.colours))
        return DecodedPair(image, self._digests[pair.image], mask, pixels, off)


def _look_at(file: BinaryIO, check: Callable[[Image.Image], None]) -> None:
    """Check what the header says of an image that could be decoded."""
    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        check(image)


def _check_upright(image: Image.Image) -> None:
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn != 1:
        raise UnusableImageError(
            f"turned: it is to be shown turned or mirrored (EXIF orientation {turn}), which a label cannot follow; "
            "save image and label as they are to be seen"
        )


def _check_label(image: Image.Image) -> None:
    if image.format not in LOSSLESS:
        raise UnusableImageError(f"lossy: a label in {image.format} may have changed colours; expected PNG")
    if image.mode not in {"RGB", "RGBA", "P"}:
        raise UnusableImageError(
            f"not in colours: its pixels are grey (mode {image.mode}), class numbers maybe; expected a colour a class"
        )
    _check_upright(image)
