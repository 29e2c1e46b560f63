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

Field = npt.NDArray[np.float32]
Coat = Callable[[Field, Field, np.random.Generator], Field]

IMAGES = 60
"""A class: enough for the ConvNet to learn the coats, few enough for a demonstration on two processors."""

PERIOD = 17.0
"""Of a coat's pattern, in pixels of an image resized to 224: within the ConvNet's receptive field several times."""


def _cells(u: Field, v: Field) -> Field:
    """Distance to the nearest point of a lattice with every other row shifted, in periods."""
    row = np.floor(v)
    return np.hypot((u + 0.5 * (row % 2)) % 1 - 0.5, v - row - 0.5)


def _noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> Field:
    """Smooth noise about 0 with spots of `grain` pixels, float32 [h, w]."""
    height, width = (max(2, round(side / grain) + 1) for side in shape)
    small = Image.fromarray(rng.standard_normal((height, width), np.float32))
    return np.asarray(small.resize(shape[::-1], Image.Resampling.BICUBIC))


def _waves(x: Field) -> Field:
    return np.sin(2 * np.pi * x, dtype=np.float32)


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
    """One picture, uint8 [h, w, 3], of 180 to 420 pixels a side."""
    side, aspect = rng.uniform(230, 340), rng.uniform(0.75, 1.35)
    height, width = round(side / aspect**0.5), round(side * aspect**0.5)
    unit = side / 224  # pixels of this image in one of a resized one
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = _pose(x, y, width, height, rng)
    body = _body(u / side, v / side, rng)
    scale = PERIOD * unit * rng.uniform(0.8, 1.25)
    u += 3 * unit * _noise(u.shape, 30 * unit, rng)
    v += 3 * unit * _noise(v.shape, 30 * unit, rng)
    pattern = coat(u / scale + rng.uniform(0, 8), v / scale + rng.uniform(0, 8), rng)

    dark, light = rng.uniform(0, 0.55, 3), rng.uniform(0.45, 1, 3)
    if rng.random() < 0.5:
        dark, light = light, dark
    contrast = rng.uniform(0.5, 1)
    mix = 0.5 + 0.5 * contrast * pattern[..., None]
    animal = dark + (light - dark) * mix
    picture = np.where(body[..., None], animal, _background(height, width, unit, rng))
    picture *= 1 + 0.25 * _noise((height, width), 90 * unit, rng)[..., None]  # light and shade
    picture += 0.04 * rng.standard_normal(picture.shape, np.float32)
    return (np.clip(picture, 0, 1) ** rng.uniform(0.7, 1.4) * 255).astype(np.uint8)


def _pose(x: Field, y: Field, width: int, height: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Coordinates along and across the body, in pixels from its centre; it may face either way."""
    angle = np.radians(rng.uniform(-20, 20))
    x = x - width * rng.uniform(0.4, 0.6)
    y = y - height * rng.uniform(0.4, 0.6)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u if rng.random() < 0.5 else -u), v


def _body(u: Field, v: Field, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Where the animal is: trunk, head and four legs. u, v in sides of the image."""
    long, high = rng.uniform(0.33, 0.44), rng.uniform(0.22, 0.3)
    trunk = (np.abs(u) / long) ** 2.5 + (np.abs(v) / high) ** 2.5 < 1
    head = np.hypot(u - long, v + high * 0.7) < high * rng.uniform(0.45, 0.65)
    legs = (np.abs(np.abs(np.abs(u) - long * 0.6) - 0.06) < 0.03) & (v > 0) & (v < high + rng.uniform(0.08, 0.2))
    return trunk | head | legs


def _background(height: int, width: int, unit: float, rng: np.random.Generator) -> Field:
    """Blurred ground and foliage in random colours, float [h, w, 3]."""
    colours = rng.uniform(0, 1, (3, 3))
    picture = np.broadcast_to(colours[0], (height, width, 3)).astype(np.float32)
    for colour, grain in zip(colours[1:], (rng.uniform(20, 60), rng.uniform(4, 12)), strict=True):
        share = np.clip(0.5 + 0.6 * _noise((height, width), grain * unit, rng), 0, 1)[..., None]
        picture = picture + 0.7 * share * (colour - picture)
    return picture


def _add_bad_files(folder: Path) -> None:
    first, second, third = list(COATS)[:3]
    whole = (folder / first / f"{first}_0000.jpg").read_bytes()
    (folder / first / f"{first}_truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / second / f"{second}_notes.jpg").write_text("This is a text file, whatever its name says.\n")
    shutil.copyfile(folder / third / f"{third}_0000.jpg", folder / third / f"{third}_copy.jpg")
