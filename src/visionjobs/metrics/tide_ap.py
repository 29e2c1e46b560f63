"""What TIDE's oracles win: AP50 as it is, and as it would be with one kind of error mended.

Bolya et al., "TIDE", ECCV 2020, section 2.3, computed as by tidecv 1.0.1 (its ap.py, and fix_errors in quantify.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visionjobs.boxes import Bools, Floats, Ints

RECALLS = np.arange(101) / 100
"""COCO's 101 points, as tidecv divides them."""


@dataclass(frozen=True)
class Points:
    """N detections in the order in which tidecv goes through them (by image, then descending score) and what is to be
    known of each. categories: int64 [N]; levels: int64 [N], rank of the score, 0 the highest, equal ones equal; right:
    bool [N], found a true box; ignored: bool [N], neither right nor wrong; codes: uint8 [N], its error as an index of
    the names given to `oracles`; mended: int64 [N], the category as which the oracle of its error makes it right, -1
    where that takes it away.
    """

    categories: Ints
    levels: Ints
    right: Bools
    ignored: Bools
    codes: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    mended: Ints


def oracles(
    points: Points, names: tuple[str, ...], positives: Ints, missed: Ints, lost: Ints
) -> tuple[float | None, dict[str, float | None]]:
    """AP50, and what is won without the error that each of `names` means but the first, without Miss, FP and FN.

    positives, missed, lost: int64 [K], of each category the true boxes, those among them that are a Miss, and those
    that no detection has found. All in points, 0..100; None where no category is left to average over, which is where
    tidecv divides by zero.

    As in tidecv, a category without true boxes counts as one with AP 0 wherever it has detections, and as none where it
    has none (left): so that taking away the last false detection of such a category wins AP. What is ignored comes
    back when the oracle of its error mends it. And of equal scores a mended or wrong detection stands before those that
    were right from the start, but in AP50 itself all stand in their order.
    """
    kept, right = ~points.ignored, points.right
    order = _order(points.categories, points.levels)
    order = order[kept[order]]
    ap50 = mean_ap(points.categories[order], right[order], positives)
    order = _order(points.categories, points.levels * 2 + right)
    won: dict[str, float | None] = {}
    for code, name in enumerate(names[1:], 1):
        wrong = points.codes == code
        mended = wrong & (points.mended >= 0)
        categories, chosen = points.categories, order
        if (points.mended[mended] != categories[mended]).any():
            categories = np.where(mended, points.mended, categories)
            chosen = _order(categories, points.levels * 2 + right)
        chosen = chosen[((kept & ~wrong) | mended)[chosen]]
        mean = mean_ap(categories[chosen], (right | mended)[chosen], positives)
        won[name] = _difference(mean, ap50, least=0.0)
    order = order[kept[order]]
    categories, hits = points.categories[order], right[order]
    won["Miss"] = _difference(mean_ap(categories, hits, positives - missed), ap50, least=0.0)
    listed = (positives > 0) | (np.bincount(categories, minlength=len(positives)) > 0)
    won["FP"] = _difference(mean_ap(categories[hits], hits[hits], positives, listed), ap50)
    won["FN"] = _difference(mean_ap(categories, hits, positives - lost), ap50)
    return ap50, won


def mean_ap(categories: Ints, right: Bools, positives: Ints, listed: Bools | None = None) -> float | None:
    """The mean over categories of the mean precision at RECALLS, in points, 0..100.

    categories: int64 [N], ascending; right: bool [N]; within a category by descending score. positives: int64 [K], the
    true boxes. listed: bool [K], over which categories the mean goes (by default those with true boxes or detections;
    without true boxes a category's AP is 0); None where it goes over none.
    """
    number = len(positives)
    counts = np.bincount(categories, minlength=number)
    listed = (positives > 0) | (counts > 0) if listed is None else listed
    if not listed.any():
        return None
    hits = np.flatnonzero(right)
    of = categories[hits]
    found = np.bincount(of, minlength=number)
    first = np.cumsum(found) - found
    nth = np.arange(len(hits)) - first[of] + 1
    precision = nth / (hits - (np.cumsum(counts) - counts)[of] + 1)
    total = sum(
        _ap(precision[first[k] : first[k] + found[k]], int(positives[k])) for k in np.flatnonzero(positives * found)
    )
    return float(total / np.count_nonzero(listed))


def _ap(precision: Floats, positives: int) -> float:
    """precision: at each right detection. Between them it is lower, so that the rest of the curve does not matter."""
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(np.arange(1, len(precision) + 1) / positives, RECALLS)
    return float(falling[places[places < len(falling)]].sum() / len(RECALLS) * 100)


def _order(categories: Ints, levels: Ints) -> Ints:
    """By category, then by level, equal ones as they are."""
    return np.argsort(categories * (int(levels.max(initial=0)) + 1) + levels, kind="stable")


def _difference(mean: float | None, ap50: float | None, least: float = -np.inf) -> float | None:
    return None if mean is None or ap50 is None else max(mean - ap50, least)
