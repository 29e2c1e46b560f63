"""Calibration of a detector's confidences: whether detections are right as often as their confidence says.

All numbers are of the same detections, the MAX_DETS most confident of each image over all its classes. Left out are
those that find nothing but lie in a crowd region of their class: they are neither right nor wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from visionjobs.boxes import MAX_DETS, SIZES, Bools, Detections, Truth, of_size
from visionjobs.metrics.box_matching import Matches, Overlaps, match, overlaps, ranks
from visionjobs.metrics.calibration import adaptive_bins, ece
from visionjobs.metrics.confidence_bins import BinSums, bin_sums
from visionjobs.metrics.recalibration import recalibration

BINS = 10
"""Of equal width for D-ECE and the count-based value, as in the experiments; of equal mass for the adaptive ECE."""

LA_BINS = 25
"""Of equal width for LaECE_0, as in its paper."""

HISTOGRAM_BINS = 20

DRAWS = 1000
SEED = 0
"""Of the simulation of a perfectly calibrated detector."""


@dataclass(frozen=True)
class _Matched:
    """The boxes with all that is needed of their matches: overlaps, at IoU .5, and at any IoU above 0."""

    truth: Truth
    detections: Detections
    overlaps: Overlaps
    half: Matches
    touching: Matches


def detection_calibration(
    truth: Truth, detections: Detections, floor: float, *, max_dets: int = MAX_DETS
) -> dict[str, Any]:
    """The `calibration` object of metrics.json. detections: those with a confidence of at least `floor`.

    By size: detections are matched with all true boxes first and then told apart by their own area, width times height.
    Only d_ece_filtered and count_ece take of both the boxes of a size first and drop all others, crowd regions too, as
    the experiments did; of true boxes COCO's own area counts then. The adaptive ECE is of adaptive_bins
    (calibration.py), which treats equal confidences alike. None: a number without detections, and that of a class
    without true boxes.
    """
    found = overlaps(truth, detections, max_dets=max_dets)
    matched = _Matched(truth, detections, found, found.match(), found.match(0.0))
    sizes = {size: _of_size(matched, size) for size in SIZES}
    for numbers in sizes.values():
        for of in numbers["of"].values():
            of |= {"floor": floor, "max_dets": max_dets}
    counted = matched.half.counted
    scores, right, images = detections.scores[counted], matched.half.right[counted], detections.images[counted]
    return {
        **sizes,
        "per_class": _per_class(matched),
        "recalibrated": recalibration(scores, right, images, len(truth.image_ids), BINS),
    }


def confidence_histogram(truth: Truth, detections: Detections, *, max_dets: int = MAX_DETS) -> list[dict[str, Any]]:
    """The `histogram` of metrics.json: the detections that D-ECE counts, right and wrong, in 20 bins of confidence."""
    sums = d_ece_sums(detections, match(truth, detections, max_dets=max_dets), HISTOGRAM_BINS)
    return [
        {"low": m / HISTOGRAM_BINS, "high": (m + 1) / HISTOGRAM_BINS, "right": int(right), "wrong": int(n - right)}
        for m, (n, right) in enumerate(zip(sums.n[0].tolist(), sums.target[0].tolist(), strict=True))
    ]


def d_ece_sums(detections: Detections, matches: Matches, bins: int = BINS, chosen: Bools | None = None) -> BinSums:
    """The sums of D-ECE, the detection expected calibration error; chosen: bool [D], of these alone.

    A detection is right if the greedy match (box_matching.py) gives it a true box of its class with an IoU of at least
    .5: bins of confidence, and in each the precision against the mean confidence. Kueppers et al., "Multivariate
    Confidence Calibration for Object Detection", CVPR workshops 2020 (arXiv 2004.13546): their D-ECE over the
    confidence alone.
    """
    counted = matches.counted if chosen is None else matches.counted & chosen
    return bin_sums(detections.scores[counted], matches.right[counted], bins)


def la_ece0(truth: Truth, detections: Detections, touching: Matches, chosen: Bools) -> tuple[float | None, int]:
    """LaECE_0, the localisation-aware calibration error, and the number of detections that it is of.

    touching: the matches at any IoU above 0. A detection's target is the IoU with the true box it has found, 0 if it
    has none. For each class, in 25 bins of equal width, the mean target against the mean confidence; then the mean over
    the classes. A class without detections or without true boxes is left out. Kuzucu et al., "On Calibration of Object
    Detectors: Pitfalls, Evaluation and Baselines", ECCV 2024 (arXiv 2405.20459). Their own code runs COCOeval with an
    IoU threshold of 0, where a detection also takes a box that it does not touch, and so takes it away from others;
    here it does not.
    """
    counted, number = touching.counted & chosen, len(truth.classes)
    known = np.zeros(number, np.bool_)
    known[truth.categories[~truth.crowd]] = True
    counted &= known[detections.categories]
    sums = bin_sums(detections.scores[counted], touching.iou[counted], LA_BINS, detections.categories[counted], number)
    of_classes = sums.ece()
    there = ~np.isnan(of_classes)
    return (float(of_classes[there].mean()) if there.any() else None), int(counted.sum())


def count_ece_sums(truth: Truth, detections: Detections, chosen: Bools) -> BinSums:
    """The sums of the experiments' count-based calibration error: of an image and class with N true boxes (without
    crowd) the N most confident detections count as right, the others as wrong.

    Its weakness: it never looks at a predicted box. A perfect detector and one that draws its boxes at random, with as
    many detections and the same confidences, have the same value. It says how well detections are counted, not whether
    they are right; D-ECE does that. chosen: bool [D], of these alone.
    """
    plain, classes = truth.where(~truth.crowd), len(truth.classes)
    wanted = np.bincount(plain.images * classes + plain.categories, minlength=len(truth.image_ids) * classes)
    found = detections.where(chosen)
    groups = found.images * classes + found.categories
    return bin_sums(found.scores, ranks(groups, found.scores) < wanted[groups], BINS)


def expected_by_chance(sums: BinSums) -> dict[str, float | None]:
    """The D-ECE of detections with these confidences that are right exactly as often as they say: mean and 95th
    percentile, "high", of 1,000 simulated sets. With few detections it is far from 0, by chance alone.

    The number right in a bin is drawn from a binomial distribution with the bin's mean confidence: its mean is exact,
    its variance too large by the variance of the confidences in the bin, which is at most .0025 (of up to .25).
    """
    n, confidence = sums.n[0], sums.confidence[0]
    total = int(n.sum())
    if not total:
        return {"mean": None, "high": None}
    mean = np.divide(confidence, n, out=np.zeros(len(n)), where=n > 0).clip(0, 1)
    right = np.random.default_rng(SEED).binomial(n, mean, (DRAWS, len(n)))
    errors = abs(right - confidence).sum(axis=1) / total
    return {"mean": float(errors.mean()), "high": float(np.quantile(errors, 0.95))}


def _of_size(matched: _Matched, size: str) -> dict[str, Any]:
    truth, detections, found, half = matched.truth, matched.detections, matched.overlaps, matched.half
    true, predicted = of_size(truth.areas, size), of_size(detections.areas, size)
    filtered = found.where(true[found.truth] & predicted[found.detections]).match()
    sums = d_ece_sums(detections, half, chosen=predicted)
    by_count = count_ece_sums(truth.where(true), detections, half.evaluated & predicted)
    by_filter = d_ece_sums(detections, filtered, chosen=predicted)
    counted = half.counted & predicted
    adaptive = ece(adaptive_bins(detections.scores[counted], half.right[counted], BINS))
    localised, localised_n = la_ece0(truth, detections, matched.touching, predicted)
    values: dict[str, tuple[float | None, int, int]] = {
        "d_ece": (_value(sums), int(sums.n.sum()), BINS),
        "la_ece0": (localised, localised_n, LA_BINS),
        "adaptive_ece": (adaptive, int(sums.n.sum()), BINS),
        "count_ece": (_value(by_count), int(by_count.n.sum()), BINS),
        "d_ece_filtered": (_value(by_filter), int(by_filter.n.sum()), BINS),
    }
    return {
        **{name: value for name, (value, _, _) in values.items()},
        "of": {name: {"n": n, "bins": bins} for name, (_, n, bins) in values.items()},
        "expected": expected_by_chance(sums),
        "reliability": _reliability(sums),
    }


def _per_class(matched: _Matched) -> dict[str, dict[str, float | int | None]]:
    truth, detections, counted = matched.truth, matched.detections, matched.half.counted
    scores, right, classes = detections.scores[counted], matched.half.right[counted], detections.categories[counted]
    sums = bin_sums(scores, right, BINS, classes, len(truth.classes))
    errors, n = sums.ece(), sums.n.sum(axis=1)
    errors[np.bincount(truth.categories[~truth.crowd], minlength=len(truth.classes)) == 0] = np.nan
    return {
        name: {"d_ece": None if np.isnan(error) else float(error), "n": int(count)}
        for name, error, count in zip(truth.classes, errors, n, strict=True)
    }


def _value(sums: BinSums) -> float | None:
    """The error of the one group."""
    return float(sums.ece()[0]) if sums.n.any() else None


def _reliability(sums: BinSums) -> list[dict[str, Any]]:
    return [
        {
            "low": m / BINS,
            "high": (m + 1) / BINS,
            "n": n,
            "confidence": confidence / n if n else None,
            "precision": right / n if n else None,
        }
        for m, (n, confidence, right) in enumerate(
            zip(sums.n[0].tolist(), sums.confidence[0].tolist(), sums.target[0].tolist(), strict=True)
        )
    ]
