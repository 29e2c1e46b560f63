"""Which detection finds which true box: greedy, within an image and class, as COCOeval does it, for all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visionjobs.boxes import MAX_DETS, Bools, Detections, Floats, Ints, Truth
from visionjobs.metrics.box_pairs import iou as iou_of
from visionjobs.metrics.box_pairs import pairs

IOU = 0.5
"""From this IoU on a detection counts as right (COCO's AP50, D-ECE)."""


@dataclass(frozen=True)
class Matches:
    """Of D detections. truth: int64 [D], index of the true box that each has found, -1 for none; iou: float64 [D], with
    that box, 0 for none; ignored: bool [D], found none and lies in a crowd region of its class: neither right nor
    wrong; evaluated: bool [D]: the others find nothing and count nowhere."""

    truth: Ints
    iou: Floats
    ignored: Bools
    evaluated: Bools

    @property
    def right(self) -> Bools:
        """bool [D], found a true box."""
        return self.truth >= 0

    @property
    def counted(self) -> Bools:
        """bool [D], either right or wrong."""
        return self.evaluated & ~self.ignored


@dataclass(frozen=True)
class Overlaps:
    """P pairs of an evaluated detection and a true box of its image and class that share some area.

    detections, truth: int64 [P], indices; iou: float64 [P]; crowd: bool [P], the true box is a crowd region (and the
    IoU COCO's for crowds). By descending confidence of the detection (equal ones in their order), of one detection by
    descending IoU (of equal ones the last true box first, as COCOeval takes it). evaluated: bool [D], as in Matches.
    """

    evaluated: Bools
    detections: Ints
    truth: Ints
    iou: Floats
    crowd: Bools

    def among(self, truth: Bools, evaluated: Bools) -> Overlaps:
        """As if there were only these true boxes, bool [G], and only these detections evaluated, bool [D]; what is not
        among the pairs does not come back."""
        kept = truth[self.truth] & evaluated[self.detections]
        return Overlaps(
            self.evaluated & evaluated, self.detections[kept], self.truth[kept], self.iou[kept], self.crowd[kept]
        )

    def match(self, iou: float = IOU) -> Matches:
        """Greedy: each detection, the most confident first, takes of the true boxes that are still free the one with
        the largest IoU, if that is at least `iou` (and above 0); one that takes none but lies in a crowd region, with
        COCO's IoU for crowds as large as that, is ignored. The rules of COCOeval.evaluateImg for area range "all"."""
        near = self.iou >= min(iou, 1 - 1e-10)
        candidates = np.flatnonzero(near & ~self.crowd)
        taken = candidates[greedy(self.detections[candidates], self.truth[candidates])]
        number = len(self.evaluated)
        truth, found = np.full(number, -1, np.int64), np.zeros(number)
        truth[self.detections[taken]] = self.truth[taken]
        found[self.detections[taken]] = self.iou[taken]
        ignored = np.zeros(number, np.bool_)
        ignored[self.detections[near & self.crowd]] = True
        return Matches(truth, found, ignored & (truth < 0), self.evaluated)


def match(truth: Truth, detections: Detections, *, iou: float = IOU, max_dets: int = MAX_DETS) -> Matches:
    """The matches at one IoU. Evaluated are the `max_dets` most confident detections of an image over all its classes,
    as in tidecv (COCOeval: of each class), so that one set of detections stands under every number."""
    evaluated = ranks(detections.images, detections.scores) < max_dets
    return overlaps(truth, detections, evaluated, above=iou).match(iou)


def overlaps(truth: Truth, detections: Detections, evaluated: Bools, *, above: float = 0.0) -> Overlaps:
    """All pairs that a match may need, with an IoU above 0 and of at least `above`, of the detections that are to be
    evaluated, bool [D]."""
    chosen = np.flatnonzero(evaluated)
    chosen = chosen[np.argsort(-detections.scores[chosen], kind="stable")]
    classes = len(truth.classes)
    rank, j = pairs(
        detections.images[chosen] * classes + detections.categories[chosen], truth.images * classes + truth.categories
    )
    iou = iou_of(detections.boxes[chosen[rank]], truth.boxes[j], truth.crowd[j])
    kept = np.flatnonzero((iou > 0) & (iou >= min(above, 1 - 1e-10)))
    rank, j, iou = rank[kept], j[kept], iou[kept]
    order = np.lexsort((-j, -iou, rank))
    rank, j, iou = rank[order], j[order], iou[order]
    return Overlaps(evaluated, chosen[rank], j, iou, truth.crowd[j])


def ranks(groups: Ints, scores: Floats) -> Ints:
    """The place of each by descending score within its group, int64 from 0; equal scores in their order."""
    order = np.lexsort((-scores, groups))
    places = np.empty(len(order), np.int64)
    if len(order):
        starts = np.flatnonzero(_starts(groups[order]))
        lengths = np.diff(np.append(starts, len(order)))
        places[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return places


def _starts(values: Ints) -> Bools:
    """Where a run of equal values begins."""
    starts = np.ones(len(values), np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts


def greedy(detections: Ints, truth: Ints) -> Ints:
    """Which pairs match, as indices of the pairs; they are in the order of Overlaps.

    All detections ask at once for the box that they like best; a box that several ask for sends away all but the most
    confident, and also those less confident that have not asked yet. Those sent away ask for their next box, until
    nobody is. As all boxes prefer the more confident, this is what asking one after the other gives: the one stable
    matching (Gale and Shapley, "College admissions and the stability of marriage", 1962).
    """
    rank = np.cumsum(_starts(detections), dtype=np.int64)
    left = np.arange(len(detections))
    holder = np.empty(int(truth.max()) + 1 if len(truth) else 0, np.int64)
    while True:
        asking, asked = rank[left], truth[left]
        first = _starts(asking)
        holder.fill(len(detections) + 1)
        np.minimum.at(holder, asked[first], asking[first])
        stays = asking <= holder[asked]
        if stays.all():
            return left[first]
        left = left[stays]
