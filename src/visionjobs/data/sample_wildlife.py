"""A drawn dataset in the raw wildlife layout, for trying everything without any data.

An animal of ten kinds stands before a cluttered background. Its kind shows in the pattern of its coat alone: colours,
polarity, brightness, position, pose and scale are drawn anew for each image, so that an image's mean colour says
nothing, while a small convolutional network has something to learn.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionjobs.data.parallel import OnProgress, default_threads, ordered_map

Field = npt.NDArray[np.floating]
Coat = Callable[[Field, Field, np.random.Generator], Field]

IMAGES = 72
"""A class: enough for the ConvNet to learn the coats, few enough for a demonstration on two processors."""

PERIOD = 17.0
"""Of a coat's pattern, in pixels of an image resized to 224: within the ConvNet's receptive field several times."""

LONG, HIGH = (0.40, 0.52), (0.30, 0.38)
"""Half the trunk's length and height, as shares of the image's side."""

SHADE, CLUTTER, FOLIAGE = 0.15, 0.7, (12.0, 30.0)
"""Strength of light and shade, of the background's contrast, and the grain of the foliage in pixels of 224."""


def _cells(u: Field, v: Field) -> Field:
    """Distance to the nearest point of a lattice with every other row shifted, in periods."""
    row = np.floor(v)
    return np.asarray(np.hypot((u + 0.5 * (row % 2)) % 1 - 0.5, v - row - 0.5))


def _noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> Field:
    """Smooth noise about 0 with spots of `grain` pixels, float32 [h, w]."""
    height, width = (max(2, round(side / grain) + 1) for side in shape)
    small = Image.fromarray(rng.standard_normal((height, width), np.float32))
    return np.asarray(small.resize(shape[::-1], Image.Resampling.BICUBIC))


def _waves(x: Field) -> Field:
    return np.asarray(np.sin(np.float32(2 * np.pi) * x))


COATS: dict[str, Coat] = {
    "amur_leopard": lambda u, v, _: np.where(np.abs(_cells(u / 1.3, v / 1.3) - 0.3) < 0.1, 1, -1),  # rosettes
    "amur_tiger": lambda u, _, __: _waves(u),  # stripes across the body
    "birds": lambda u, v, _: _waves(v + 1.2 * np.abs(u / 2 % 1 - 0.5)),  # rows of feathers
    "black_bear": lambda u, _, __: np.zeros_like(u),  # plain
    "brown_bear": lambda u, _, rng: np.clip(1.5 * _noise(u.shape, 3, rng), -1, 1),  # fur
    "dog": lambda u, _, rng: np.sign(_noise(u.shape, 28, rng)),  # large patches
    "people": lambda u, v, _: np.sign(_waves(u) * _waves(v)),  # checked cloth
    "roe_deer": lambda u, v, _: np.maximum(np.abs(_waves((u + v) / 2)), np.abs(_waves((u - v) / 2))) * 4 - 3,  # a net
    "sika_deer": lambda u, v, _: np.where(_cells(u, v) < 0.27, 1, -1),  # dots
    "wild_boar": lambda _, v, __: _waves(v),  # stripes along the body
}
"""Class -> its coat: from body coordinates in periods (u along, v across) to a pattern in [-1, 1]."""


def draw_wildlife(
    folder: Path, *, seed: int = 0, images: int = IMAGES, on_progress: OnProgress | None = None,
    threads: int | None = None,
) -> None:  # fmt: skip
    """Draw `images` JPEG files a class into `folder/<class>/`, the same for the same seed, and three bad files.

    The bad ones (cut short, no image, a duplicate) show the import's rejects at work.
    """
    tasks = [(label, number) for label in range(len(COATS)) for number in range(images)]
    for name in COATS:
        (folder / name).mkdir(parents=True, exist_ok=True)

    def draw_one(task: tuple[int, int]) -> None:
        label, number = task
        name = list(COATS)[label]
        rng = np.random.default_rng((seed, label, number))
        image = Image.fromarray(draw_animal(COATS[name], rng))
        image.save(folder / name / f"{name}_{number:04d}.jpg", quality=int(rng.integers(75, 95)))

    for done, _ in enumerate(ordered_map(draw_one, tasks, threads or default_threads()), 1):
        if on_progress:
            on_progress("Drawing", done, len(tasks))
    _add_bad_files(folder)


def draw_animal(coat: Coat, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One picture, uint8 [h, w, 3], of about 190 to 330 pixels a side."""
    side, aspect = rng.uniform(215, 290), rng.uniform(0.8, 1.3)
    height, width = round(side / aspect**0.5), round(side * aspect**0.5)
    unit = side / 224  # pixels of this image in one of a resized one
    u, v = _pose(height, width, rng)
    body = _body(u / side, v / side, rng)
    period = PERIOD * unit * rng.uniform(0.88, 1.15)
    u = (u + 3 * unit * _noise(u.shape, 30 * unit, rng)) / period
    v = (v + 3 * unit * _noise(v.shape, 30 * unit, rng)) / period
    pattern = coat(u + _uniform(rng, 0, 8), v + _uniform(rng, 0, 8), rng)

    dark, light = _uniform(rng, 0, 0.5, 3), _uniform(rng, 0.5, 1, 3)
    if rng.random() < 0.5:
        dark, light = light, dark
    share = 0.5 + 0.5 * _uniform(rng, 0.7, 1) * pattern
    picture = np.where(body[..., None], dark + (light - dark) * share[..., None], _background(height, width, unit, rng))
    picture *= 1 + SHADE * _noise((height, width), 90 * unit, rng)[..., None]
    picture += 0.03 * rng.standard_normal((height, width, 1), np.float32)
    gamma = 255 * np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.4)
    return gamma.astype(np.uint8)[(np.clip(picture, 0, 1) * 255).astype(np.uint8)]


def _uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Field:
    return np.asarray(rng.uniform(low, high, size), np.float32)


def _pose(height: int, width: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Coordinates along and across the body, in pixels from its centre; it may face either way."""
    angle = np.radians(rng.uniform(-20, 20))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x = np.arange(width, dtype=np.float32) - width * _uniform(rng, 0.42, 0.58)
    y = (np.arange(height, dtype=np.float32) - height * _uniform(rng, 0.42, 0.58))[:, None]
    u, v = x * cos + y * sin, y * cos - x * sin
    return (u if rng.random() < 0.5 else -u), v


def _body(u: Field, v: Field, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Where the animal is: trunk, head and four legs. u, v in sides of the image."""
    long, high = _uniform(rng, *LONG), _uniform(rng, *HIGH)
    trunk = (u / long) ** 4 + (v / high) ** 4 < 1
    head = (u - long) ** 2 + (v + high * 0.7) ** 2 < (high * _uniform(rng, 0.45, 0.65)) ** 2
    legs = np.abs(np.abs(np.abs(u) - long * 0.6) - 0.06) < 0.03
    return np.asarray(trunk | head | (legs & (v > 0) & (v < high + _uniform(rng, 0.08, 0.2))))


def _background(height: int, width: int, unit: float, rng: np.random.Generator) -> Field:
    """Ground and foliage out of focus, in random colours, float32 [h, w, 3]."""
    picture, *colours = _uniform(rng, 0, 1, 9).reshape(3, 3)
    for colour, grain in zip(colours, (rng.uniform(30, 60), rng.uniform(*FOLIAGE)), strict=True):
        share = np.clip(0.4 + 0.4 * _noise((height, width), grain * unit, rng), 0, 1)[..., None]
        picture = picture + CLUTTER * share * (colour - picture)
    return np.asarray(picture)


def _add_bad_files(folder: Path) -> None:
    first, second, third = list(COATS)[:3]
    whole = (folder / first / f"{first}_0000.jpg").read_bytes()
    (folder / first / f"{first}_truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / second / f"{second}_notes.jpg").write_text("This is a text file, whatever its name says.\n")
    shutil.copyfile(folder / third / f"{third}_0000.jpg", folder / third / f"{third}_copy.jpg")
