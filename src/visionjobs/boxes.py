"""True and predicted boxes of a set of images, as arrays: what every detection metric is computed from.

Boxes are (x, y, width, height) in pixels of the image at its own size, x and y of the upper left corner, as in COCO.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SIZES = {"all": (0.0, np.inf), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's sizes of objects: name -> (from, up to but without) in square pixels."""

MAX_DETS = 100
"""Of an image's detections (COCOeval: of one category in it) only so many, the most confident, are evaluated."""


@dataclass(frozen=True)
class Truth:
    """I images with G true boxes of K categories.

    image_ids: int64 [I], ascending, COCO's; paths: I file names; image_sizes: int64 [I, 2], height and width in pixels,
    0 where the annotations do not tell; category_ids: int64 [K], ascending, COCO's (with gaps); classes: K names. Of
    each box: annotation_ids int64 [G]; images int64 [G], categories int64 [G]: indices into image_ids and category_ids;
    boxes float64 [G, 4]; areas float64 [G], the annotation's own `area` (of the segment, not of the box); crowd bool
    [G]: a region with uncounted objects, which is neither to be found nor wrong to find.
    """

    image_ids: Ints
    paths: tuple[str, ...]
    image_sizes: Ints
    category_ids: Ints
    classes: tuple[str, ...]
    annotation_ids: Ints
    images: Ints
    categories: Ints
    boxes: Floats
    areas: Floats
    crowd: Bools

    def __len__(self) -> int:
        return len(self.boxes)

    def where(self, chosen: Bools | Ints) -> Truth:
        """The chosen boxes, of the same images and categories."""
        names = ("annotation_ids", "images", "categories", "boxes", "areas", "crowd")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@dataclass(frozen=True)
class Detections:
    """D predicted boxes. images, categories: int64 [D], indices into the Truth's image_ids and category_ids; boxes:
    float64 [D, 4]; scores: float64 [D], confidence in 0..1. In any order."""

    images: Ints
    categories: Ints
    boxes: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def areas(self) -> Floats:
        """Width times height, float64 [D]."""
        return np.asarray(self.boxes[:, 2] * self.boxes[:, 3])

    def where(self, chosen: Bools | Ints) -> Detections:
        """The chosen ones."""
        return Detections(self.images[chosen], self.categories[chosen], self.boxes[chosen], self.scores[chosen])

    def above(self, floor: float) -> Detections:
        """Those with at least this confidence."""
        return self.where(self.scores >= floor)


def of_size(areas: Floats, size: str) -> Bools:
    """Which areas are of the size, one of SIZES: from <= area < up to."""
    low, high = SIZES[size]
    return np.asarray((areas >= low) & (areas < high))


def count_by_class(truth: Truth) -> tuple[Ints, Ints]:
    """(images with at least one box of the class, boxes of the class), int64 [K] each, crowd regions aside."""
    plain, number = truth.where(~truth.crowd), len(truth.classes)
    images = len(truth.image_ids)
    held = np.unique(plain.categories * images + plain.images) // max(images, 1)
    return np.bincount(held, minlength=number), np.bincount(plain.categories, minlength=number)


def floor_key(floor: float) -> str:
    """How a confidence floor is written as a key: '0.001'."""
    return f"{floor:.10g}"
