"""Detections as a detector of middling quality would give them, drawn around known true boxes: for speed and tests."""

from __future__ import annotations

import numpy as np

from visionjobs.boxes import Detections, Floats, Ints, Truth

FOUND = 0.8
"""The share of the true boxes that get one good detection."""

SIZE = 640
"""Width and height in pixels of an image whose size the annotations do not tell."""


def simulated(truth: Truth, seed: int, number: int | None = None, *, floor: float = 0.001) -> Detections:
    """`number` detections (three a true box by default) with scores from `floor` to 1.

    First good ones, well placed and mostly of the right class, with scores above half; the rest, spread evenly over
    the images: half duplicates and badly placed boxes, some of a wrong class, half background, with low scores. Crowd
    regions are drawn around too, so that some detections are to be ignored.
    """
    random = np.random.default_rng(seed)
    number = 3 * len(truth) if number is None else number
    good = np.flatnonzero(random.random(len(truth)) < FOUND)
    good = random.permutation(good)[:number]
    images = random.integers(0, len(truth.image_ids), number - len(good))
    near, far = _sources(truth, images, random)
    boxes = np.concatenate(
        [
            _jittered(truth.boxes[good], 0.07, random),
            _jittered(truth.boxes[near], 0.25, random),
            _background(truth.image_sizes[far], random),
        ]
    )
    sources = np.concatenate([good, near])
    right = random.random(len(sources)) < np.repeat([0.93, 0.7], [len(good), len(near)])
    anything = random.integers(0, len(truth.category_ids), number)
    categories = anything.copy()
    categories[: len(sources)] = np.where(right, truth.categories[sources], anything[: len(sources)])
    high = 0.5 + 0.5 * random.beta(2, 1.2, len(good))
    low = floor * (0.9 / floor) ** random.beta(1, 2.5, number - len(good))
    order = random.permutation(number)
    return Detections(
        images=np.concatenate([truth.images[sources], far])[order],
        categories=categories[order],
        boxes=boxes[order],
        scores=np.concatenate([high, low])[order].round(5).clip(floor, 1),
    )


def _sources(truth: Truth, images: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """For half of the images, where they have true boxes, one of these (an index of truth); the other images."""
    order = np.argsort(truth.images, kind="stable")
    counts = np.bincount(truth.images, minlength=len(truth.image_ids))
    starts = np.cumsum(counts) - counts
    near = (random.random(len(images)) < 0.5) & (counts[images] > 0)
    chosen = images[near]
    return order[starts[chosen] + (random.random(len(chosen)) * counts[chosen]).astype(np.int64)], images[~near]


def _jittered(boxes: Floats, spread: float, random: np.random.Generator) -> Floats:
    """Moved by `spread` of their width and height (standard deviation), and scaled by as much."""
    centres = boxes[:, :2] + boxes[:, 2:] * (0.5 + random.normal(0, spread, (len(boxes), 2)))
    sides = boxes[:, 2:] * np.exp(random.normal(0, spread, (len(boxes), 2)))
    return np.concatenate([centres - sides / 2, sides], axis=1)


def _background(sizes: Ints, random: np.random.Generator) -> Floats:
    """Boxes anywhere in images of these heights and widths, small ones more often than large ones."""
    within = np.where(sizes > 0, sizes, SIZE)[:, ::-1].astype(np.float64)
    sides = within * 0.02 ** random.random((len(sizes), 2))
    return np.concatenate([(within - sides) * random.random((len(sizes), 2)), sides], axis=1)
