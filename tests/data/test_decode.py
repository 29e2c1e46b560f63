"""Single image files, whole and damaged."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from import_helpers import jpeg, picture
from PIL import Image

from visionjobs.data.decode import UnusableImageError, decode, quiet_pillow

SIZE = (24, 16)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_resized_as_pillow_does(kind: str) -> None:
    image = picture(0)
    found = decode(io.BytesIO(encoded(image, kind)), SIZE)
    np.testing.assert_array_equal(found.pixels, np.asarray(image.resize((16, 24), Image.Resampling.BILINEAR)))
    assert (found.width, found.height, found.pixels.dtype) == (40, 30, np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "AVIF", "JPEG2000"])
def test_lossy_formats_are_read(kind: str) -> None:
    smooth = picture(0, 4, 3).resize((40, 30), Image.Resampling.BICUBIC)
    found = decode(io.BytesIO(encoded(smooth, kind)), SIZE)
    expected = np.asarray(smooth.resize((16, 24), Image.Resampling.BILINEAR))
    assert np.abs(found.pixels.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_8_bit_mode_becomes_rgb(mode: str) -> None:
    image = picture(1).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    found = decode(io.BytesIO(encoded(image, kind)), SIZE)
    expected = np.asarray(image.convert("RGB").resize((16, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found.pixels, expected)


@pytest.mark.parametrize(
    ("orientation", "operation"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)]
)
def test_exif_orientation_is_applied(orientation: int, operation: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(io.BytesIO(encoded(picture(2), "PNG", exif=exif)), SIZE)
    turned = picture(2).transpose(operation)
    np.testing.assert_array_equal(found.pixels, np.asarray(turned.resize((16, 24), Image.Resampling.BILINEAR)))
    assert (found.width, found.height) == turned.size


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"Just text.", "not an image"),
        (jpeg(0)[: len(jpeg(0)) // 2], "truncated"),
        (jpeg(0)[:20], "truncated or damaged: its JPEG header"),
        (jpeg(0)[:-200], "truncated"),
        (encoded(picture(0), "PNG")[:500], "truncated"),
        (encoded(picture(0), "PNG")[:12], "truncated or damaged: its PNG header"),
        (bomb(), "decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"%PDF-1.4\n", "not an image"),
        (b"PK\x03\x04" + b"\0" * 50, "not an image"),
        (encoded(Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG"), "16 or 32 bits"),
        (encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "16 or 32 bits"),
    ],
)
def test_unusable_files_say_why(data: bytes, reason: str) -> None:
    with quiet_pillow(), pytest.raises(UnusableImageError, match=reason):
        decode(io.BytesIO(data), SIZE)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_bytes_never_crash(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")[seed % 6]
    data = np.frombuffer(encoded(picture(seed), kind), np.uint8).copy()
    hit = rng.integers(0, len(data), 20)
    data[hit] = rng.integers(0, 256, 20)
    with quiet_pillow():
        try:
            assert decode(io.BytesIO(data.tobytes()), SIZE).pixels.shape == (*SIZE, 3)
        except UnusableImageError as error:
            assert str(error)  # a reason for the report
