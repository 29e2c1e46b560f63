"""What is checked of a detection dataset's boxes when it is imported, and what of its annotations is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visionjobs.boxes import Bools, Ints, Truth, count_by_class

SLACK = 0.01
"""Pixels that a box may reach out of its image uncut: what rounding x and width to two digits, as COCO does, adds."""


@dataclass(frozen=True)
class CheckedBoxes:
    """truth: images that are kept and their boxes, inside them; clipped, empty: boxes that were cut, and those left out
    because nothing of them lies inside their image."""

    truth: Truth
    clipped: int
    empty: int


def check_boxes(truth: Truth, sizes: Ints, kept: Bools, in_shares: bool = False) -> CheckedBoxes:
    """Keep some images, cut boxes at their edges and leave out what has no area then.

    sizes: int64 [I, 2], height and width of each kept image, as decoded; kept: bool [I]. in_shares: the boxes are in
    shares of the image's sides, and become pixels, whose areas are computed. So are those of boxes that were cut and
    had their box's own area; all other ones stay as they are.
    """
    truth = only_images(replace(truth, image_sizes=sizes), kept)
    if in_shares:
        truth = replace(truth, boxes=truth.boxes * truth.image_sizes[truth.images][:, [1, 0, 1, 0]])
    edges = truth.image_sizes[truth.images][:, ::-1]
    low, high = truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]
    outside = np.any((low < -SLACK) | (high > edges + SLACK), axis=1)
    cut_low, cut_high = low.clip(0, edges), high.clip(0, edges)
    boxes = np.where(outside[:, None], np.concatenate([cut_low, cut_high - cut_low], axis=1), truth.boxes)
    filled = np.min(boxes[:, 2:], axis=1) > 0
    of_box = outside & (truth.areas == truth.boxes[:, 2] * truth.boxes[:, 3])
    areas = np.where(of_box | in_shares, boxes[:, 2] * boxes[:, 3], truth.areas)
    checked = replace(truth, boxes=boxes, areas=areas).where(filled)
    return CheckedBoxes(checked, int((outside & filled).sum()), int((~filled).sum()))


def only_images(truth: Truth, kept: Bools) -> Truth:
    """Only some images, and their boxes. kept: bool [I]."""
    places = np.cumsum(kept) - 1
    chosen = truth.where(kept[truth.images])
    return replace(
        chosen, image_ids=truth.image_ids[kept], image_sizes=truth.image_sizes[kept], images=places[chosen.images],
        paths=tuple(path for path, keep in zip(truth.paths, kept.tolist(), strict=True) if keep),
    )  # fmt: skip


def counted(truth: Truth) -> tuple[dict[str, int], dict[str, int]]:
    """(class -> images with at least one box of it, class -> boxes), crowd regions aside."""
    named = (dict(zip(truth.classes, numbers.tolist(), strict=True)) for numbers in count_by_class(truth))
    return next(named), next(named)
