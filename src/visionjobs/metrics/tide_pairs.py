"""The pairs of a detection and a true box of its image that TIDE looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visionjobs.boxes import Bools, Detections, Floats, Ints, Truth
from visionjobs.metrics.box_pairs import iou, pairs

BLOCK = 1 << 16
"""So many detections are paired at once: bounds the memory (COCO has 7 true boxes an image)."""


@dataclass(frozen=True)
class Pairs:
    """P pairs, by detection, then by descending IoU, equal ones by true box: the first of a detection is its best one.

    detections, truth: int64 [P], indices; iou: float64 [P]; covered: float64 [P], the share of the detection that lies
    in the true box (COCO's IoU with a crowd region); same: bool [P], of the same category.
    """

    detections: Ints
    truth: Ints
    iou: Floats
    covered: Floats
    same: Bools

    def where(self, chosen: Bools) -> Pairs:
        """The chosen ones, bool [P], in their order."""
        return Pairs(
            self.detections[chosen], self.truth[chosen], self.iou[chosen], self.covered[chosen], self.same[chosen]
        )

    def first(self, chosen: Bools) -> Ints:
        """Of each detection that has chosen pairs, bool [P], the place of the first of them."""
        places = np.flatnonzero(chosen)
        detections = self.detections[places]
        starts = np.ones(len(detections), np.bool_)
        starts[1:] = detections[1:] != detections[:-1]
        return places[starts]


def near_pairs(truth: Truth, detections: Detections, least_iou: float, covered: float) -> Pairs:
    """All pairs with at least this IoU, and those of the same category where more than `covered` of the detection lies
    in the true box. The detections' order is kept."""
    blocks = [_block(truth, detections, start, least_iou, covered) for start in range(0, len(detections), BLOCK)]
    if not blocks:
        blocks = [_block(truth, detections, 0, least_iou, covered)]
    names = ("detections", "truth", "iou", "covered", "same")
    return Pairs(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names})


def _block(truth: Truth, detections: Detections, start: int, least_iou: float, covered: float) -> Pairs:
    block = detections.where(np.arange(start, min(start + BLOCK, len(detections))))
    i, j = pairs(block.images, truth.images)
    a, b = block.boxes[i], truth.boxes[j]
    value, share = iou(a, b), iou(a, b, np.ones(len(i), np.bool_))
    same = block.categories[i] == truth.categories[j]
    found = Pairs(i + start, j, value, share, same).where((value >= least_iou) | (same & (share > covered)))
    order = np.lexsort((found.truth, -found.iou, found.detections))
    return Pairs(found.detections[order], found.truth[order], found.iou[order], found.covered[order], found.same[order])
