"""Drawn road scenes in the raw CamVid layout, for trying everything without any data.

A street seen from a car, in one perspective: metres become pixels, so that what is far is small. Light, colours,
places and the kinds of houses and vehicles are drawn anew for each scene; image and label are drawn by the same
strokes. Trucks, traffic lights, children and zebra crossings are rare, and of CamVid's 32 classes 13 never occur.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.class_dict import CLASS_DICT
from visionjobs.data.colours import ColourTable
from visionjobs.data.parallel import OnProgress, default_threads, ordered_map
from visionjobs.data.sample_camvid_things import (
    FAR,
    HEIGHT,
    NUMBERS,
    WIDTH,
    Rng,
    Scene,
    Thing,
    bicyclist,
    car,
    child,
    darker,
    pedestrian,
    pole,
    sign,
    traffic_light,
    tree,
    truck,
)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]

SCENES = {"train": 24, "val": 8, "test": 8}
"""Split -> images: a few epochs take a minute on two processors."""

KERB, PAVED = 4.0, 6.5
"""Half the road's width, and where the sidewalk ends, in metres from the middle."""

GRAIN = {"Tree": (0.5, 5), "VegetationMisc": (0.5, 4), "Building": (0.15, 12), "Road": (0.12, 3), "Sky": (0.12, 60)}
"""Class -> strength of its texture and the size of its spots in pixels."""

OTHER_GRAIN = (0.08, 20)
"""Of all other classes."""

TABLE = ColourTable(CAMVID.values())


def draw_camvid(
    folder: Path, *, seed: int = 0, scenes: dict[str, int] | None = None, on_progress: OnProgress | None = None,
    threads: int | None = None,
) -> None:  # fmt: skip
    """Draw `folder/<split>/*.png`, `folder/<split>_labels/*_L.png` and class_dict.csv, the same for the same seed."""
    tasks = [(split, number) for split, images in (scenes or SCENES).items() for number in range(images)]
    for split in scenes or SCENES:
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / f"{split}_labels").mkdir(exist_ok=True)
    rows = [f"{name},{red}, {green}, {blue}" for name, (red, green, blue) in CAMVID.items()]
    (folder / CLASS_DICT).write_text("\n".join(["name,r,g,b", *rows]))

    def draw_one(task: tuple[str, int]) -> None:
        split, number = task
        rng = np.random.default_rng((seed, list(SCENES).index(split), number))
        image, label = draw_scene(number, rng)
        Image.fromarray(image).save(folder / split / f"scene_{number:04d}.png")
        Image.fromarray(TABLE.paint(label)).save(folder / f"{split}_labels" / f"scene_{number:04d}_L.png")

    for done, _ in enumerate(ordered_map(draw_one, tasks, threads or default_threads()), 1):
        if on_progress:
            on_progress("Drawing", done, len(tasks))


def draw_scene(number: int, rng: Rng) -> tuple[Pixels, Pixels]:
    """(image uint8 [HEIGHT, WIDTH, 3], class numbers uint8 [HEIGHT, WIDTH]). `number` decides what is rare in it."""
    scene = Scene(rng)
    _ground(scene)
    _houses(scene)
    if number % 8 == 2:
        _zebra(scene)
    for thing, x, z in sorted(_things(number, rng), key=lambda placed: -placed[2]):
        thing(scene, x, z)
    _unlabelled(scene)
    image = np.asarray(scene.image.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float32) / 255
    label = np.asarray(scene.label.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    return _photographed(image, label, rng), label


def _ground(scene: Scene) -> None:
    """Sky, road with lanes, sidewalks, and grass beside them."""
    blue = int(scene.rng.integers(0, 60))
    scene.box("Sky", 0, -0.1, FAR, (9 * FAR, 9 * FAR), (205 - blue, 220 - blue // 2, 235))
    scene.polygon("VegetationMisc", _strip(-99, 99, 0.5, FAR), (90, 110, 60))
    grey = int(scene.rng.integers(140, 175))
    scene.polygon("Sidewalk", _strip(-PAVED, PAVED, 0.5, FAR), (grey + 15, grey + 8, grey))
    tar = int(scene.rng.integers(75, 115))
    scene.polygon("Road", _strip(-KERB, KERB, 0.5, FAR), (tar, tar, tar + 6))
    start = scene.rng.uniform(2, 5)
    for near in np.arange(start, FAR, 5):
        scene.polygon("LaneMkgsDriv", _strip(-0.12, 0.12, near, near + 2.5), (230, 230, 220))
    if scene.rng.random() < 0.6:
        for side in (-1, 1):
            edge = side * (KERB - 0.5)
            scene.polygon("LaneMkgsDriv", _strip(edge - 0.08, edge + 0.08, 0.5, FAR), (225, 225, 215))


def _strip(left: float, right: float, near: float, far: float) -> list[tuple[float, float, float]]:
    return [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]


def _houses(scene: Scene) -> None:
    """Both sides, from far to near: houses with windows, trees between them, here and there a fence or a wall."""
    rng = scene.rng
    for side in (-1, 1):
        far = FAR
        while far > 4:
            near = max(2.5, far - rng.uniform(7, 16) - far / 8)
            kind = rng.choice(["house", "trees", "fence", "wall"], p=[0.55, 0.25, 0.12, 0.08])
            x = side * (PAVED + rng.uniform(0.3, 1.5))
            if kind == "house":
                _house(scene, x, near, far)
            else:
                for z in np.linspace(far, near + 1, 4):
                    tree(scene, x + side * rng.uniform(1.5, 4), z)
            if kind == "fence":
                scene.side("Fence", side * PAVED, (near, far), (0, 1.4), scene.shade(70, 120))
            if kind == "wall":
                scene.side("Wall", side * PAVED, (near, far), (0, 2.2), (165, 130, 105))
            far = near


def _house(scene: Scene, x: float, near: float, far: float) -> None:
    height, colour = scene.rng.uniform(6, 15), scene.shade(90, 200, 35)
    front = (2 * abs(x), height)
    scene.box("Building", 2 * x, 0, far, front, colour)
    scene.box("Building", 2 * x, 0, near, front, darker(colour, 0.9))
    scene.side("Building", x, (near, far), (0, height), darker(colour, 0.75))
    pane = scene.shade(30, 90)
    for z in np.arange(near + 1, far - 1.5, 3):
        for y in np.arange(1, height - 1.5, 3):
            scene.side("Building", x, (z, z + 1.4), (y, y + 1.6), pane)


def _zebra(scene: Scene) -> None:
    near = scene.rng.uniform(5, 12)
    for x in np.arange(-KERB + 0.3, KERB - 0.5, 1.1):
        scene.polygon("LaneMkgsNonDriv", _strip(x, x + 0.55, near, near + 2.8), (235, 235, 230))


def _things(number: int, rng: Rng) -> list[tuple[Thing, float, float]]:
    """What stands and moves in the street: (what, x, z)."""

    def beside(low: float, high: float) -> float:
        return float(rng.choice([-1, 1]) * rng.uniform(low, high))

    placed: list[tuple[Thing, float, float]] = []
    placed += [(car, beside(2.6, 3.1), z) for z in rng.uniform(7, 45, rng.integers(2, 6))]
    placed += [(car, rng.uniform(1.2, 1.8) * rng.choice([-1, 1]), z) for z in rng.uniform(10, 50, 2)]
    placed += [(pole, beside(4.2, 4.5), z) for z in rng.uniform(5, 45, rng.integers(3, 7))]
    placed += [(sign, beside(4.3, 4.7), z) for z in rng.uniform(6, 22, rng.integers(1, 4))]
    placed += [(pedestrian, beside(4.6, 6.2), z) for z in rng.uniform(8, 28, rng.integers(1, 5))]
    placed += [(tree, beside(5.8, 6.4), z) for z in rng.uniform(9, 45, rng.integers(1, 5))]
    placed += [(bicyclist, beside(2.2, 3.6), z) for z in rng.uniform(6, 15, rng.integers(0, 3))]
    if number % 6 == 1:
        placed.append((truck, beside(1.5, 2), rng.uniform(10, 25)))
    if number % 5 == 3:
        placed.append((traffic_light, beside(4.3, 4.6), rng.uniform(8, 15)))
    if number % 7 == 4:
        placed.append((child, beside(4.2, 4.8), rng.uniform(8, 11)))
    return placed


def _unlabelled(scene: Scene) -> None:
    """What the labelling left out: the own bonnet at the lower edge, and a patch somewhere."""
    width, height = scene.image.size
    pen = ImageDraw.Draw(scene.label)
    if scene.rng.random() < 0.5:
        edge = (-0.1 * width, height * scene.rng.uniform(0.93, 0.97), 1.1 * width, 1.2 * height)
        pen.ellipse(edge, fill=NUMBERS["Void"])
        ImageDraw.Draw(scene.image).ellipse(edge, fill=scene.shade(30, 80))
    for _ in range(scene.rng.integers(1, 3)):
        x, y = scene.rng.uniform(0, width), scene.rng.uniform(0.3, 0.7) * height
        pen.ellipse((x - 14, y - 9, x + 14, y + 9), fill=NUMBERS["Void"])


def _photographed(image: Floats, label: Pixels, rng: Rng) -> Pixels:
    """Textures, light and noise over the flat colours, float32 [h, w, 3] in 0..1 -> uint8."""
    shape = label.shape[0], label.shape[1]
    texture = np.zeros(shape, np.float32)
    for name in CAMVID:
        strength, spots = GRAIN.get(name, OTHER_GRAIN)
        texture += np.where(label == NUMBERS[name], strength * _noise(shape, spots, rng), 0)
    image = image * (1 + texture[..., None])
    image *= 1 + 0.2 * _noise(shape, 120, rng)[..., None]
    light = rng.uniform(0.88, 1.1, 3).astype(np.float32) * np.float32(rng.uniform(0.8, 1.15))
    image = image * light + np.float32(0.025) * rng.standard_normal(image.shape, np.float32)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _noise(shape: tuple[int, int], grain: float, rng: Rng) -> Floats:
    """Smooth noise about 0 with spots of `grain` pixels, float32 [h, w]."""
    height, width = (max(2, round(side / grain) + 1) for side in shape)
    small = Image.fromarray(rng.standard_normal((height, width), np.float32))
    return np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
