"""Small raw datasets for the tests of the import."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from visionjobs.storage import Store


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Random pixels, different for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def jpeg(seed: int, width: int = 40, height: int = 30) -> bytes:
    buffer = io.BytesIO()
    picture(seed, width, height).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def raw_files(classes: Iterable[str] = ("ape", "bear", "cat"), images: int = 10) -> dict[str, bytes]:
    """Path -> bytes of `images` JPEG files a class."""
    return {
        f"{name}/{name}_{number}.jpg": jpeg(1000 * label + number, 40 + number, 30 + label)
        for label, name in enumerate(classes)
        for number in range(images)
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def contents(store: Store, without: Iterable[str] = ("manifest.json",)) -> dict[str, bytes]:
    """Every object of a dataset, without the manifest (it holds the time of the import)."""
    return {entry.key: store.read(entry.key) for entry in store.entries() if entry.key not in set(without)}
