"""Images to measure with: real photos where they are, drawn ones where only their number and size count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionjobs.data.parallel import default_threads, ordered_map

Item = TypeVar("Item")

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 10
BASES = 4
"""Pictures a class, of which all its images are noisy copies."""
DRAWN_SIZE = (200, 150)
"""Width and height in pixels."""


def real_photos() -> Path:
    """Where 1,000 photos of 10 classes are, one folder a class, if they are anywhere (VISIONJOBS_TEST_DATA)."""
    return Path(os.environ.get("VISIONJOBS_TEST_DATA", ROOT.parent / "shared" / "data")) / "animals10" / "train"


def draw_photos(folder: Path, images: int) -> Path:
    """`images` small JPEG files in 10 class folders, no two of them equal, the same each time. Returns `folder`."""
    bases = [[_base(label * BASES + index) for index in range(BASES)] for label in range(CLASSES)]
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True)

    def draw(index: int) -> None:
        label = index % CLASSES
        base = bases[label][index // CLASSES % BASES]
        noise = np.random.default_rng(index).integers(-20, 21, base.shape, dtype=np.int16)
        pixels = np.clip(base + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"class_{label}" / f"{index:06}.jpg", quality=85)

    _for_each(draw, range(images))
    return folder


def first_of_each_class(source: Path, folder: Path, images: int) -> Path:
    """Links to the first `images` of `source`, equally many a class. Returns `folder`."""
    classes = sorted(path for path in source.iterdir() if path.is_dir())
    for label in classes:
        (folder / label.name).mkdir(parents=True)
        for path in islice(sorted(label.iterdir()), images // len(classes)):
            (folder / label.name / path.name).symlink_to(path.resolve())
    return folder


def enlarge(source: Path, folder: Path, pixels: int) -> Path:
    """The photos of `source` enlarged to about `pixels` pixels each, bicubic, JPEG quality 90. Returns `folder`."""
    paths = sorted(path for path in source.glob("*/*") if path.is_file())
    for name in {path.parent.name for path in paths}:
        (folder / name).mkdir(parents=True)
    _for_each(partial(_enlarge_one, folder, pixels), paths)
    return folder


def _enlarge_one(folder: Path, pixels: int, path: Path) -> None:
    with Image.open(path) as image:
        scale = (pixels / (image.width * image.height)) ** 0.5
        size = round(image.width * scale), round(image.height * scale)
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    large.save(folder / path.parent.name / f"{path.stem}.jpg", quality=90)


def _base(seed: int) -> npt.NDArray[np.int16]:
    """A smooth random picture, int16 [H, W, 3], 0..255."""
    coarse = np.random.default_rng([1, seed]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(DRAWN_SIZE, Image.Resampling.BICUBIC)).astype(np.int16)


def _for_each(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    for _ in ordered_map(function, items, default_threads()):
        pass
