"""What a drawn road scene is made of: strokes in image and label at once, and the things in a street.

One perspective turns metres into pixels, so that what is far is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from visionjobs.data.camvid_classes import CAMVID, Colour

Rng = np.random.Generator

HEIGHT, WIDTH = 180, 240
"""Of an image, in pixels."""

FINE = 2
"""Strokes are drawn this many times larger, so that edges in the image are smooth, as a camera's are."""

FOCAL, EYE, FAR = 0.8 * WIDTH * FINE, 1.5, 90.0
"""Focal length in pixels; the camera's height and the end of the street, in metres."""

NUMBERS = {name: number for number, name in enumerate(CAMVID)}


class Scene:
    """Image and label, drawn together. Places are (x, y, z) in metres: right of the camera's line, above the ground,
    ahead."""

    def __init__(self, rng: Rng) -> None:
        self.image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE))
        self.label = Image.new("L", self.image.size, NUMBERS["Void"])
        self._image_pen, self._label_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.label)
        self.rng = rng
        self._middle = self.image.width * rng.uniform(0.4, 0.6)
        self._horizon = self.image.height * rng.uniform(0.4, 0.5)

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        """The pixel of a place."""
        return self._middle + FOCAL * x / z, self._horizon + FOCAL * (EYE - y) / z

    def polygon(self, name: str, places: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        """An area of the class `name`."""
        points = [self.at(*place) for place in places]
        self._image_pen.polygon(points, fill=colour)
        self._label_pen.polygon(points, fill=NUMBERS[name])

    def box(self, name: str, x: float, y: float, z: float, size: tuple[float, float], colour: Colour) -> None:
        """An upright rectangle facing the camera; (x, y): the middle of its lower edge; size: width, height."""
        w, h = size[0] / 2, size[1]
        self.polygon(name, [(x - w, y, z), (x + w, y, z), (x + w, y + h, z), (x - w, y + h, z)], colour)

    def disc(self, name: str, x: float, y: float, z: float, size: tuple[float, float], colour: Colour) -> None:
        """An upright ellipse facing the camera; (x, y): its middle; size: width, height."""
        around = (*self.at(x - size[0] / 2, y + size[1] / 2, z), *self.at(x + size[0] / 2, y - size[1] / 2, z))
        self._image_pen.ellipse(around, fill=colour)
        self._label_pen.ellipse(around, fill=NUMBERS[name])

    def shade(self, low: int = 40, high: int = 220, tint: int = 25) -> Colour:
        """A colour, rather grey than not."""
        grey = self.rng.integers(low, high)
        red, green, blue = np.clip(grey + self.rng.integers(-tint, tint + 1, 3), 0, 255).tolist()
        return red, green, blue

    def side(self, name: str, x: float, z: tuple[float, float], y: tuple[float, float], colour: Colour) -> None:
        """An upright rectangle along the street, between two places ahead and two heights."""
        self.polygon(name, [(x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])], colour)


def darker(colour: Colour, share: float) -> Colour:
    """`share` of its light."""
    red, green, blue = (int(value * share) for value in colour)
    return red, green, blue


Thing = Callable[[Scene, float, float], None]
"""Draws one at (x, z) on the ground."""


def tree(scene: Scene, x: float, z: float) -> None:
    """A trunk and a crown of leaves."""
    rng, height = scene.rng, scene.rng.uniform(4, 8)
    scene.box("Tree", x, 0, z, (0.35, height * 0.6), (80, 62, 45))
    green = (int(rng.integers(45, 80)), int(rng.integers(80, 125)), int(rng.integers(35, 60)))
    for _ in range(6):
        size, leaves = (rng.uniform(1.5, 3), rng.uniform(1.5, 3)), darker(green, rng.uniform(0.8, 1))
        scene.disc("Tree", x + rng.normal(0, 0.8), height * rng.uniform(0.6, 1), z, size, leaves)


def pole(scene: Scene, x: float, z: float) -> None:
    """A street lamp."""
    height, colour = scene.rng.uniform(5, 7), scene.shade(60, 110, 8)
    scene.box("Column_Pole", x, 0, z, (0.2, height), colour)
    scene.box("Column_Pole", x - np.sign(x) * 0.5, height - 0.2, z, (1.2, 0.2), colour)


def sign(scene: Scene, x: float, z: float) -> None:
    """A traffic sign on its pole, round or square."""
    scene.box("Column_Pole", x, 0, z, (0.13, 2.6), (120, 120, 122))
    colour: Colour = ((200, 30, 30), (30, 60, 180), (235, 200, 40))[scene.rng.integers(3)]
    if scene.rng.random() < 0.6:
        scene.disc("SignSymbol", x, 2.7, z, (0.9, 0.9), colour)
        scene.disc("SignSymbol", x, 2.7, z, (0.55, 0.55), (240, 240, 240))
    else:
        scene.box("SignSymbol", x, 2.3, z, (0.8, 0.8), colour)


def traffic_light(scene: Scene, x: float, z: float) -> None:
    """A pole with a box of three lights, one of them lit."""
    scene.box("Column_Pole", x, 0, z, (0.15, 2.6), (70, 75, 70))
    scene.box("TrafficLight", x, 2.5, z, (0.5, 1.2), (25, 28, 25))
    lit = scene.rng.integers(3)
    for number, colour in enumerate([(60, 220, 110), (240, 180, 40), (235, 50, 40)]):
        scene.disc("TrafficLight", x, 2.7 + 0.4 * number, z, (0.3, 0.3), colour if number == lit else (60, 60, 55))


def car(scene: Scene, x: float, z: float) -> None:
    """From behind, with the side that is towards the camera."""
    _vehicle(scene, "Car", x, z, (1.75, 0.95, 1.45, 3.8))


def truck(scene: Scene, x: float, z: float) -> None:
    """A lorry or a bus."""
    _vehicle(scene, "Truck_Bus", x, z, (2.4, 1.3, 3.2, 8))


def _vehicle(scene: Scene, name: str, x: float, z: float, size: tuple[float, float, float, float]) -> None:
    """size: width, height of the body, height in all, length."""
    width, body, height, length = size
    colour = scene.shade(35, 225, 70)
    inner = x - np.sign(x) * width / 2
    cabin = 0.78 if name == "Car" else 1.0
    scene.box(name, x, 0.1, z, (width * 1.04, 0.3), (25, 25, 28))
    scene.side(name, inner, (z, z + length), (0.3, body), darker(colour, 0.7))
    roof = x - np.sign(x) * width * cabin / 2
    scene.side(name, roof, (z + 0.4, z + length * 0.75), (body, height), (50, 58, 66))
    for wheel in (z + length * 0.2, z + length * 0.8):
        scene.side(name, inner, (wheel - 0.3, wheel + 0.3), (0, 0.6), (20, 20, 22))
    scene.box(name, x, 0.25, z, (width, body - 0.25), colour)
    scene.box(name, x, body, z, (width * cabin, height - body), colour)
    scene.box(name, x, body + 0.06, z, (width * cabin * 0.85, (height - body) * 0.75), (55, 65, 75))
    for side in (-1, 1):
        scene.box(name, x + side * width * 0.4, body * 0.62, z, (0.22, 0.16), (190, 25, 25))
        scene.box(name, x + side * width * 0.38, 0, z, (0.25, 0.3), (20, 20, 22))


def pedestrian(scene: Scene, x: float, z: float) -> None:
    """Somebody who walks."""
    _person(scene, "Pedestrian", x, z, scene.rng.uniform(1.6, 1.9))


def child(scene: Scene, x: float, z: float) -> None:
    """Somebody small, in bright clothes."""
    _person(scene, "Child", x, z, scene.rng.uniform(0.9, 1.15))


def _person(scene: Scene, name: str, x: float, z: float, height: float, ground: float = 0) -> None:
    trousers, coat = scene.shade(25, 90), scene.shade(60, 210, 80)
    for side in (-1, 1):
        scene.box(name, x + side * 0.1 * height / 1.7, ground, z, (0.16, height * 0.5), trousers)
    scene.box(name, x, ground + height * 0.45, z, (0.3 * height, height * 0.42), coat)
    scene.disc(name, x, ground + height * 0.93, z, (0.15 * height, 0.16 * height), (205, 160, 130))


def bicyclist(scene: Scene, x: float, z: float) -> None:
    """Somebody on a bicycle, seen from the side; the wheels are part of the class."""
    for side in (-1, 1):
        scene.disc("Bicyclist", x + side * 0.5, 0.35, z, (0.7, 0.7), (30, 30, 32))
    frame = [(x - 0.5, 0.35, z), (x, 0.9, z), (x + 0.5, 0.35, z), (x, 0.5, z)]
    scene.polygon("Bicyclist", frame, scene.shade(60, 200, 90))
    _person(scene, "Bicyclist", x, z, 1.35, ground=0.5)
