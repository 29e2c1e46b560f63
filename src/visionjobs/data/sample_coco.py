"""Drawn scenes of coloured shapes in the raw COCO layout, for trying everything without any data.

Five kinds of things, told apart by shape and, loosely, by colour, lie on a textured ground, the smaller ones over the
larger: small, medium and large ones by COCO's areas. Some images have none; a heap of balls is a crowd region. A box
encloses what can be seen of its thing, and its `area` is the pixels that can be seen, as COCO's is that of a segment.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionjobs.boxes import Truth
from visionjobs.coco_json import write_annotations
from visionjobs.data.parallel import OnProgress, default_threads, ordered_map

Rng = np.random.Generator
Points = list[tuple[float, float]]

SCENES = {"train": 48, "val": 16}
"""Split -> images."""

CATEGORIES = {1: "ball", 2: "crate", 4: "cone", 7: "star", 8: "ring"}
"""COCO's numbers have gaps, so these have too."""

HUES = {
    "ball": (205, 60, 50),
    "crate": (60, 110, 200),
    "cone": (235, 150, 40),
    "star": (240, 215, 60),
    "ring": (70, 165, 85),
}

SIDES = ((10, 28, 0.35), (36, 80, 0.45), (125, 170, 0.2))
"""Of a thing: from, to in pixels, share of all things: COCO's small, medium and large."""

EMPTY_EVERY, CROWD_AT = 8, 3
"""Every eighth image has no things; the fourth of each split has a crowd region."""

SMALLEST = 6
"""Pixels across: of what is hidden so far that less can be seen, there is no box."""


@dataclass
class _Scene:
    """image: RGB; owner: uint8 [H, W], which thing is seen at a pixel, 0 for the ground; things: kind and crowd of
    each."""

    image: Image.Image
    owner: Image.Image
    things: list[tuple[str, bool]] = field(default_factory=list)


def draw_coco(
    folder: Path, *, seed: int = 0, scenes: Mapping[str, int] | None = None, on_progress: OnProgress | None = None,
    threads: int | None = None,
) -> None:  # fmt: skip
    """Draw `folder/<split>2017/*.jpg` and `folder/annotations/instances_<split>2017.json`, the same for the same
    seed."""
    scenes = scenes or SCENES
    tasks = [(split, number) for split, images in scenes.items() for number in range(images)]
    for split in scenes:
        (folder / f"{split}2017").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)

    def draw_one(task: tuple[str, int]) -> _Drawn:
        split, number = task
        drawn = draw_scene(number, np.random.default_rng((seed, list(SCENES).index(split), number)))
        (folder / f"{split}2017" / _file_name(split, number)).write_bytes(drawn.jpeg)
        return drawn

    made: dict[str, list[_Drawn]] = {split: [] for split in scenes}
    for done, (task, drawn) in enumerate(
        zip(tasks, ordered_map(draw_one, tasks, threads or default_threads()), strict=True), 1
    ):
        made[task[0]].append(drawn)
        if on_progress:
            on_progress("Drawing", done, len(tasks))
    for split, images in made.items():
        (folder / "annotations" / f"instances_{split}2017.json").write_bytes(write_annotations(_truth(split, images)))


@dataclass(frozen=True)
class _Drawn:
    """size: height, width; things: (kind, crowd, box x y w h, area) of each that can be seen."""

    jpeg: bytes
    size: tuple[int, int]
    things: list[tuple[str, bool, tuple[int, int, int, int], int]]


def draw_scene(number: int, rng: Rng) -> _Drawn:
    """`number` decides what is rare in it: an image without things, a crowd."""
    width, height = int(rng.integers(160, 241)), int(rng.integers(120, 201))
    scene = _Scene(_ground(width, height, rng), Image.new("L", (width, height)))
    if number % EMPTY_EVERY != EMPTY_EVERY - 1:
        shares = [share for *_, share in SIDES]
        ranges = rng.choice(len(SIDES), int(rng.integers(2, 8)), p=shares)
        for side in sorted((float(rng.uniform(*SIDES[one][:2])) for one in ranges), reverse=True):
            _thing(scene, str(rng.choice(list(DRAW))), side, rng)
        if number == CROWD_AT:
            _crowd(scene, rng)
    pixels = np.asarray(scene.image, np.float32) * np.float32(rng.uniform(0.8, 1.15))
    pixels += 5 * rng.standard_normal(pixels.shape, np.float32)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return _Drawn(file.getvalue(), (height, width), _visible(scene))


def _visible(scene: _Scene) -> list[tuple[str, bool, tuple[int, int, int, int], int]]:
    owner = np.asarray(scene.owner)
    seen = []
    for thing, (kind, crowd) in enumerate(scene.things, 1):
        down, across = np.nonzero(owner == thing)
        if len(down) == 0:
            continue
        x, y = int(across.min()), int(down.min())
        width, height = int(across.max()) + 1 - x, int(down.max()) + 1 - y
        if min(width, height) >= SMALLEST:
            seen.append((kind, crowd, (x, y, width, height), len(down)))
    return seen


def _thing(scene: _Scene, kind: str, side: float, rng: Rng) -> None:
    width, height = scene.image.size
    x, y = rng.uniform(0.3 * side, width - 0.3 * side), rng.uniform(0.3 * side, height - 0.3 * side)
    scene.things.append((kind, False))
    _stroke(scene, kind, (float(x), float(y)), side, rng)


def _crowd(scene: _Scene, rng: Rng) -> None:
    """Many small balls close together, as one region."""
    width, height = scene.image.size
    x, y = rng.uniform(45, width - 45), rng.uniform(25, height - 25)
    scene.things.append(("ball", True))
    for _ in range(30):
        _stroke(scene, "ball", (float(x + rng.uniform(-40, 40)), float(y + rng.uniform(-18, 18))), 11, rng)


def _stroke(scene: _Scene, kind: str, centre: tuple[float, float], side: float, rng: Rng) -> None:
    """The same shape into the image and, as the last thing's number, into the owners."""
    shade = rng.uniform(0.75, 1.1)
    colour = tuple(int(np.clip(part * shade + rng.uniform(-18, 18), 0, 255)) for part in HUES[kind])
    turn = float(rng.uniform(-0.35, 0.35))
    DRAW[kind](ImageDraw.Draw(scene.image), centre, side, turn, colour)
    DRAW[kind](ImageDraw.Draw(scene.owner), centre, side, turn, len(scene.things))


Fill = int | tuple[int, ...]
Pen = Callable[[ImageDraw.ImageDraw, tuple[float, float], float, float, Fill], None]


def _square(centre: tuple[float, float], side: float) -> tuple[float, float, float, float]:
    return centre[0] - side / 2, centre[1] - side / 2, centre[0] + side / 2, centre[1] + side / 2


def _around(centre: tuple[float, float], turn: float, corners: Points) -> Points:
    """Corners about the origin, turned and moved to the centre."""
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    return [(centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y) for x, y in corners]


def _ball(draw: ImageDraw.ImageDraw, centre: tuple[float, float], side: float, _turn: float, fill: Fill) -> None:
    draw.ellipse(_square(centre, side), fill=fill)


def _crate(draw: ImageDraw.ImageDraw, centre: tuple[float, float], side: float, turn: float, fill: Fill) -> None:
    half = 0.42 * side
    draw.polygon(_around(centre, turn, [(-half, -half), (half, -half), (half, half), (-half, half)]), fill=fill)


def _cone(draw: ImageDraw.ImageDraw, centre: tuple[float, float], side: float, turn: float, fill: Fill) -> None:
    half = side / 2
    draw.polygon(_around(centre, turn, [(0, -half), (0.8 * half, half), (-0.8 * half, half)]), fill=fill)


def _star(draw: ImageDraw.ImageDraw, centre: tuple[float, float], side: float, turn: float, fill: Fill) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = side / 2 * np.where(np.arange(10) % 2, 0.45, 1.0)
    corners = zip((radii * np.cos(angles)).tolist(), (radii * np.sin(angles)).tolist(), strict=True)
    draw.polygon(_around(centre, turn, list(corners)), fill=fill)


def _ring(draw: ImageDraw.ImageDraw, centre: tuple[float, float], side: float, _turn: float, fill: Fill) -> None:
    draw.ellipse(_square(centre, side), outline=fill, width=max(2, round(side / 5)))


DRAW: dict[str, Pen] = {"ball": _ball, "crate": _crate, "cone": _cone, "star": _star, "ring": _ring}


def _ground(width: int, height: int, rng: Rng) -> Image.Image:
    """A dull colour with spots of several sizes."""
    texture = sum(weight * _noise(height, width, spots, rng) for weight, spots in ((14, 60), (9, 14), (6, 4)))
    colour = rng.uniform(70, 170) + rng.uniform(-15, 15, 3)
    return Image.fromarray((np.asarray(texture)[..., None] + colour).clip(0, 255).astype(np.uint8))


def _noise(height: int, width: int, spots: float, rng: Rng) -> npt.NDArray[np.float32]:
    """Smooth noise about 0 with spots of so many pixels, float32 [height, width]."""
    small = rng.standard_normal((max(2, round(height / spots) + 1), max(2, round(width / spots) + 1)), np.float32)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _file_name(split: str, number: int) -> str:
    return f"{_image_id(split, number):012d}.jpg"


def _image_id(split: str, number: int) -> int:
    """Different in each split, not without gaps."""
    return 100_000 * (list(SCENES).index(split) + 1) + 7 * number


def _truth(split: str, drawn: list[_Drawn]) -> Truth:
    names = list(CATEGORIES.values())
    rows = [(image, *thing) for image, one in enumerate(drawn) for thing in one.things]
    first = _image_id(split, 0)
    return Truth(
        image_ids=np.array([_image_id(split, number) for number in range(len(drawn))], np.int64),
        paths=tuple(_file_name(split, number) for number in range(len(drawn))),
        image_sizes=np.array([one.size for one in drawn], np.int64),
        category_ids=np.array(list(CATEGORIES), np.int64), classes=tuple(names),
        annotation_ids=np.arange(first, first + len(rows)),
        images=np.array([image for image, *_ in rows], np.int64),
        categories=np.array([names.index(kind) for _, kind, *_ in rows], np.int64),
        boxes=np.array([box for *_, box, _ in rows], np.float64).reshape(-1, 4),
        areas=np.array([area for *_, area in rows], np.float64),
        crowd=np.array([crowd for _, _, crowd, *_ in rows], np.bool_),
    )  # fmt: skip
