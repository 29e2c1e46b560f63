"""Image file -> uint8 array, or the reason why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow knows more, some of which start other programs (EPS) or have no maintainer."""

MAX_PIXELS = 178_956_970
"""Where Pillow itself speaks of a decompression bomb: 0.5 GB as RGB."""

_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF"}


class UnusableImageError(Exception):
    """The file is no usable image; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """pixels: uint8 [H, W, 3], RGB; width, height: of the image as shown, before it was resized."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode(file: BinaryIO, size: tuple[int, int] | None) -> Decoded:
    """Decode, turn as EXIF says, convert to RGB and resize to `size` (height, width), bilinear with antialiasing; None:
    at its own size.

    Raises UnusableImageError. Call it within `quiet_pillow()`.
    """
    with _opened(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        resized = upright if size is None else upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(resized), upright.width, upright.height)


def decode_stored(file: BinaryIO) -> npt.NDArray[np.uint8]:
    """Decode and convert to RGB, uint8 [H, W, 3], at its own size and not turned, whatever EXIF says.

    Raises UnusableImageError.
    """
    with _opened(file) as image:
        return np.array(image.convert("RGB"))


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """The image, and whatever Pillow raises within the context as an UnusableImageError."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check(image)
            yield image
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnusableImageError(_unidentified(file)) from error
    except Image.DecompressionBombError as error:
        raise UnusableImageError(f"decompression bomb: more than {MAX_PIXELS:,} pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # fed with damaged files, Pillow's decoders raise almost anything
        text = str(error) or type(error).__name__
        raise UnusableImageError(f"{'truncated' if 'truncated' in text.lower() else 'damaged'}: {text}") from error


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow's warnings (odd EXIF, large images) tell a user nothing to act on. To be entered by one thread only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError(f"decompression bomb: {image.width}x{image.height} pixels")
    if image.mode == "F" or image.mode.startswith("I"):  # converting them to RGB would clip at 255, silently
        raise UnusableImageError("has 16 or 32 bits a pixel; expected 8 a channel")


def _unidentified(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(4)
    if not start:
        return "empty file"
    for signature, name in _SIGNATURES.items():
        if start.startswith(signature):
            return f"truncated or damaged: its {name} header cannot be read"
    return f"not an image (known are {', '.join(FORMATS)})"
