"""TIDE: what kinds of errors cost a detector how much average precision.

Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020: the six main
errors in section 2.2 and figure 2, their oracles in 2.3. The numbers are those of the authors' tidecv 1.0.1, also where
that is peculiar (here and in tide_ap.py it says where), computed over arrays for all images at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.boxes import MAX_DETS, SIZES, Bools, Detections, Ints, Truth, of_size
from visionjobs.metrics.box_matching import greedy, ranks
from visionjobs.metrics.tide_ap import Points, oracles
from visionjobs.metrics.tide_pairs import Pairs, near_pairs

ERRORS: tuple[str, ...] = ("none", "Cls", "Loc", "Both", "Dupe", "Bkg")
"""A detection's code is an index of this: wrong class, badly placed, both of these, a duplicate, on background."""

OTHERS = ("Miss", "FP", "FN")
"""Errors that no detection's code tells: true boxes that are lost whole; all false positives; all false negatives."""

NOT_EVALUATED = 255
"""The code of a detection that was ignored (it lies in a crowd region), beyond the top ones, or of another size."""

RIGHT, BACKGROUND = 0.5, 0.1
"""TIDE's two IoU: from the first on a detection is well placed, up to the second it is on background."""


@dataclass(frozen=True)
class TideResult:
    """ap50: mean average precision at IoU .5, in points, 0..100. errors: ERRORS but the first, and OTHERS -> the points
    that would be won without them. They are None where there is no true box; an error also where without it no class
    would be left to average over. codes: uint8 [D], index of ERRORS, or NOT_EVALUATED. missed: bool [G], the true boxes
    that are a Miss: nothing found them, and no Cls or Loc comes near them."""

    ap50: float | None
    errors: dict[str, float | None]
    codes: npt.NDArray[np.uint8]
    missed: Bools

    def to_dict(self) -> dict[str, float | None]:
        """For metrics.json: the numbers, in points."""
        return {"ap50": self.ap50, **self.errors}


def tide(truth: Truth, detections: Detections, *, max_dets: int = MAX_DETS) -> TideResult:
    """All sizes together. Evaluated are the `max_dets` most confident detections of an image, over all its classes, of
    equal ones the first."""
    scene = _Scene.of(truth, detections, max_dets)
    return scene.evaluate(~truth.crowd, truth.crowd, np.ones(len(scene.order), np.bool_))


def tide_by_size(truth: Truth, detections: Detections) -> dict[str, TideResult]:
    """SIZES -> the true boxes of this size by their `area`, the detections by width times height, others dropped (also
    crowd regions). codes and missed are of all that was given: NOT_EVALUATED and False for what was dropped."""
    scene = _Scene.of(truth, detections, MAX_DETS)
    results = {}
    for size, found in scene.sizes():
        there = of_size(truth.areas, size)
        results[size] = scene.evaluate(there & ~truth.crowd, there & truth.crowd, found)
    return results


def tide_ignore_by_size(truth: Truth, detections: Detections) -> dict[str, TideResult]:
    """small, medium, large -> as tide_by_size, but true boxes of other sizes become regions to ignore, like crowd: a
    detection of this size that finds nothing is ignored where more than half of it lies in such a box of its class.
    Detections of other sizes are dropped."""
    scene = _Scene.of(truth, detections, MAX_DETS)
    results = {}
    for size, found in scene.sizes():
        if size != "all":
            true = of_size(truth.areas, size) & ~truth.crowd
            results[size] = scene.evaluate(true, ~true, found)
    return results


@dataclass(frozen=True)
class _Scene:
    """What the runs over the same boxes share. order: int64 [N], the detections that any of them evaluates, as tidecv
    goes through them: by image, then by descending score, equal ones as they came; detections: those, in this order,
    which all indices of detections below refer to; levels: int64 [N], the rank of their scores, 0 the highest, equal
    ones of equal rank; pairs: the near boxes; number: D, of all detections."""

    truth: Truth
    order: Ints
    detections: Detections
    levels: Ints
    pairs: Pairs
    max_dets: int
    number: int

    @classmethod
    def of(cls, truth: Truth, detections: Detections, max_dets: int) -> _Scene:
        """Detections below the top ones of their image and size are below its top ones in every run."""
        of_sizes = np.digitize(detections.areas, [SIZES["medium"][0], SIZES["large"][0]])
        kept = np.flatnonzero(ranks(detections.images * 3 + of_sizes, detections.scores) < max_dets)
        order = kept[np.lexsort((-detections.scores[kept], detections.images[kept]))]
        chosen = detections.where(order)
        levels = np.unique(-chosen.scores, return_inverse=True)[1]
        pairs = near_pairs(truth, chosen, BACKGROUND, RIGHT)
        return cls(truth, order, chosen, levels, pairs, max_dets, len(detections))

    def sizes(self) -> Iterable[tuple[str, Bools]]:
        """Each of SIZES, and which detections are of it."""
        return ((size, of_size(self.detections.areas, size)) for size in SIZES)

    def evaluate(self, true: Bools, regions: Bools, found: Bools) -> TideResult:
        """One run. true, regions: bool [G], the boxes to find and those to ignore; found: bool [N]."""
        chosen = np.flatnonzero(found)
        places = chosen[ranks(self.detections.images[chosen], self.detections.scores[chosen]) < self.max_dets]
        evaluated = np.zeros(len(self.order), np.bool_)
        evaluated[places] = True
        pairs = self.pairs.where(evaluated[self.pairs.detections])
        faults = _faults(pairs.where(true[pairs.truth]), self.truth.categories, len(self.order))
        ignored = np.zeros(len(self.order), np.bool_)
        ignored[pairs.detections[regions[pairs.truth] & pairs.same & (pairs.covered > RIGHT)]] = True
        ignored &= faults.codes > 0
        codes = np.full(self.number, NOT_EVALUATED, np.uint8)
        codes[self.order[places]] = np.where(ignored, NOT_EVALUATED, faults.codes)[places]
        missed = true & ~faults.used & ~faults.usable
        if not true.any():
            return TideResult(None, dict.fromkeys(ERRORS[1:] + OTHERS), codes, missed)
        points = Points(
            self.detections.categories[places], self.levels[places], faults.codes[places] == 0, ignored[places],
            faults.codes[places], faults.mended[places],
        )  # fmt: skip
        counts = (
            np.bincount(self.truth.categories[which], minlength=len(self.truth.category_ids))
            for which in (true, missed, true & ~faults.used)
        )
        return TideResult(*oracles(points, ERRORS, *counts), codes, missed)


@dataclass(frozen=True)
class _Faults:
    """codes: uint8 [N], index of ERRORS; mended: int64 [N], the category as which an oracle makes the detection right,
    -1 where it takes it away; used: bool [G], found; usable: bool [G], not found, but by a detection of a wrong class
    or place."""

    codes: npt.NDArray[np.uint8]
    mended: Ints
    used: Bools
    usable: Bools


def _faults(pairs: Pairs, categories: Ints, number: int) -> _Faults:
    """What is wrong with each of `number` detections. pairs: with boxes to find; categories: int64 [G], of all boxes.

    The rules in order, the first that fits (tidecv, _eval_image in quantify.py): the best box of its class is placed
    badly: Loc; the best one of other classes well: Cls; a found one of its class well: Dupe; no box better than
    background: Bkg; else Both. Detections that are to be ignored are no exception.
    """
    well, bad = pairs.iou >= RIGHT, (pairs.iou >= BACKGROUND) & (pairs.iou <= RIGHT)
    candidates = np.flatnonzero(well & pairs.same)
    taken = candidates[greedy(pairs.detections[candidates], pairs.truth[candidates])]
    used, usable = np.zeros((2, len(categories)), np.bool_)
    used[pairs.truth[taken]] = True
    elsewhere, own = pairs.first(well & ~pairs.same), pairs.first(pairs.same)
    own = own[bad[own]]
    codes, target = np.full(number, ERRORS.index("Bkg"), np.uint8), np.full(number, -1, np.int64)
    codes[pairs.detections[pairs.iou > BACKGROUND]] = ERRORS.index("Both")
    codes[pairs.detections[well & pairs.same & used[pairs.truth]]] = ERRORS.index("Dupe")
    for name, places in (("Cls", elsewhere), ("Loc", own)):
        codes[pairs.detections[places]] = ERRORS.index(name)
        target[pairs.detections[places]] = pairs.truth[places]
    codes[pairs.detections[taken]], target[pairs.detections[taken]] = 0, -1
    aiming = np.flatnonzero(target >= 0)
    aiming = aiming[~used[target[aiming]]]
    aimed_at, first = np.unique(target[aiming], return_index=True)
    usable[aimed_at] = True
    mended = np.full(number, -1, np.int64)
    mended[aiming[first]] = categories[aimed_at]
    return _Faults(codes, mended, used, usable)
