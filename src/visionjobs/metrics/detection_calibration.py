"""Calibration of a detector's confidences: whether detections are right as often as their confidence says.

Five errors; all are of the MAX_DETS most confident detections of each image over all its classes. Which of these are
left out, as neither right nor wrong:

- d_ece and adaptive_ece: those that find no true box at an IoU of .5 but lie in a crowd region of their class, COCO's
  IoU for crowds at least .5. What is computed from D-ECE's bins leaves out the same: the reliability diagram, what is
  expected by chance, the histogram and the recalibration.
- la_ece0: those that find no true box at any IoU above 0 but touch a crowd region of their class; and all of classes
  without true boxes.
- count_ece: none. A crowd region is no object, and what lies in it counts as right or wrong like all else.
- d_ece_filtered: as d_ece, but by size a crowd region counts only where it is of that size by its own area; one of
  another size does not exist, and what lies in it is wrong.

By size, the first three take the most confident of an image first and tell them apart by size last; count_ece and
d_ece_filtered drop what is of other sizes first, and take the most confident of what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from visionjobs.boxes import MAX_DETS, SIZES, Bools, Detections, Floats, Ints, Truth, of_size
from visionjobs.metrics.box_matching import Matches, match, overlaps, ranks
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
class _Sums:
    """Of one size, the sums in bins of every class: [classes, bins]. scores: float64 [n], right: bool [n], classes:
    int64 [n], of the detections that D-ECE counts."""

    d_ece: BinSums
    la_ece0: BinSums
    count_ece: BinSums
    d_ece_filtered: BinSums
    scores: Floats
    right: Bools
    classes: Ints


def detection_calibration(
    truth: Truth, detections: Detections, floor: float, *, max_dets: int = MAX_DETS
) -> dict[str, Any]:
    """The `calibration` object of metrics.json. detections: those with a confidence of at least `floor`.

    By size: detections are matched with all true boxes first and then told apart by their own area, width times height.
    Only d_ece_filtered and count_ece take of both the boxes of a size first and drop all others, crowd regions too, as
    the experiments did and TIDE by size does (tide.py); of true boxes COCO's own area counts then. The adaptive ECE is
    of adaptive_bins (calibration.py), which treats equal confidences alike. By class: the part of the same detections
    that is of the class; n: how many its D-ECE, adaptive ECE and reliability diagram are of. None: a number without
    detections, and all but n of a class without true boxes.
    """
    of_sizes = np.digitize(detections.areas, [SIZES["medium"][0], SIZES["large"][0]])
    top = ranks(detections.images, detections.scores) < max_dets
    top_of_size = ranks(detections.images * 3 + of_sizes, detections.scores) < max_dets
    found = overlaps(truth, detections, top_of_size)  # the top of all sizes are among the top of their own
    every = found.among(np.ones(len(truth), np.bool_), top)
    half, touching = every.match(), every.match(0.0)
    sums = {}
    for size in SIZES:
        true, predicted = of_size(truth.areas, size), of_size(detections.areas, size)
        alone = top if size == "all" else top_of_size & predicted
        counted = half.counted & predicted
        sums[size] = _Sums(
            d_ece_sums(truth, detections, half, chosen=predicted),
            la_ece0_sums(truth, detections, touching, predicted),
            count_ece_sums(truth.where(true), detections, alone),
            d_ece_sums(truth, detections, found.among(true, alone).match()),
            detections.scores[counted],
            half.right[counted],
            detections.categories[counted],
        )
    every_size = sums["all"]
    images = detections.images[half.counted]
    return {
        **{size: _of_size(one, {"floor": floor, "max_dets": max_dets}) for size, one in sums.items()},
        "per_class": _per_class(truth, every_size),
        "recalibrated": recalibration(every_size.scores, every_size.right, images, len(truth.image_ids), BINS),
    }


def confidence_histogram(truth: Truth, detections: Detections, *, max_dets: int = MAX_DETS) -> list[dict[str, Any]]:
    """The `histogram` of metrics.json: the detections that D-ECE counts, right and wrong, in 20 bins of confidence."""
    matches = match(truth, detections, max_dets=max_dets)
    sums = d_ece_sums(truth, detections, matches, HISTOGRAM_BINS).together()
    return [
        {"low": m / HISTOGRAM_BINS, "high": (m + 1) / HISTOGRAM_BINS, "right": int(right), "wrong": int(n - right)}
        for m, (n, right) in enumerate(zip(sums.n[0].tolist(), sums.target[0].tolist(), strict=True))
    ]


def d_ece_sums(
    truth: Truth, detections: Detections, matches: Matches, bins: int = BINS, chosen: Bools | None = None
) -> BinSums:
    """The sums of D-ECE, the detection expected calibration error, of each class; chosen: bool [D], of these alone.

    A detection is right if the greedy match (box_matching.py) gives it a true box of its class with an IoU of at least
    .5: bins of confidence, and in each the precision against the mean confidence. Kueppers et al., "Multivariate
    Confidence Calibration for Object Detection", CVPR workshops 2020 (arXiv 2004.13546): their D-ECE over the
    confidence alone.
    """
    counted = matches.counted if chosen is None else matches.counted & chosen
    classes, number = detections.categories[counted], len(truth.classes)
    return bin_sums(detections.scores[counted], matches.right[counted], bins, classes, number)


def la_ece0_sums(truth: Truth, detections: Detections, touching: Matches, chosen: Bools) -> BinSums:
    """The sums of LaECE_0, the localisation-aware calibration error, of each class; chosen: bool [D], of these alone.

    touching: the matches at any IoU above 0. A detection's target is the IoU with the true box it has found, 0 if it
    has none. For each class, in 25 bins of equal width, the mean target against the mean confidence; LaECE_0 is the
    mean over the classes. A class without detections or without true boxes is left out. Kuzucu et al., "On Calibration
    of Object Detectors: Pitfalls, Evaluation and Baselines", ECCV 2024 (arXiv 2405.20459). Their own code runs COCOeval
    with an IoU threshold of 0, where a detection also takes a box that it does not touch, and so takes it away from
    others; here it does not.
    """
    counted = touching.counted & chosen & _with_truth(truth)[detections.categories]
    classes, number = detections.categories[counted], len(truth.classes)
    return bin_sums(detections.scores[counted], touching.iou[counted], LA_BINS, classes, number)


def count_ece_sums(truth: Truth, detections: Detections, chosen: Bools) -> BinSums:
    """The sums of the experiments' count-based calibration error, of each class: of an image and class with N true
    boxes (without crowd) the N most confident detections count as right, the others as wrong.

    Its weakness: it never looks at a predicted box. A perfect detector and one that draws its boxes at random, with as
    many detections and the same confidences, have the same value. It says how well detections are counted, not whether
    they are right; D-ECE does that. chosen: bool [D], of these alone.
    """
    plain, classes = truth.where(~truth.crowd), len(truth.classes)
    wanted = np.bincount(plain.images * classes + plain.categories, minlength=len(truth.image_ids) * classes)
    found = detections.where(chosen)
    groups = found.images * classes + found.categories
    right = ranks(groups, found.scores) < wanted[groups]
    return bin_sums(found.scores, right, BINS, found.categories, classes)


def expected_by_chance(sums: BinSums) -> dict[str, float | None]:
    """The D-ECE of detections with these confidences that are right exactly as often as they say: mean and 95th
    percentile, "high", of 1,000 simulated sets. With few detections it is far from 0, by chance alone.

    The number right in a bin is drawn from a binomial distribution with the bin's mean confidence: its mean is exact,
    its variance too large by the variance of the confidences in the bin, which is at most .0025 (of up to .25).
    """
    n, confidence = sums.n.sum(axis=0), sums.confidence.sum(axis=0)
    total = int(n.sum())
    if not total:
        return {"mean": None, "high": None}
    mean = np.divide(confidence, n, out=np.zeros(len(n)), where=n > 0).clip(0, 1)
    right = np.random.default_rng(SEED).binomial(n, mean, (DRAWS, len(n)))
    errors = abs(right - confidence).sum(axis=1) / total
    return {"mean": float(errors.mean()), "high": float(np.quantile(errors, 0.95))}


def _of_size(sums: _Sums, limits: dict[str, float]) -> dict[str, Any]:
    """limits: what `of` tells of each number besides its detections and bins."""
    plain = sums.d_ece.together()
    values = {
        "d_ece": (_errors(plain)[0], plain.n, BINS),
        "la_ece0": (_mean(_errors(sums.la_ece0)), sums.la_ece0.n, LA_BINS),
        "adaptive_ece": (ece(adaptive_bins(sums.scores, sums.right, BINS)), plain.n, BINS),
        "count_ece": (_errors(sums.count_ece.together())[0], sums.count_ece.n, BINS),
        "d_ece_filtered": (_errors(sums.d_ece_filtered.together())[0], sums.d_ece_filtered.n, BINS),
    }
    return {
        **{name: value for name, (value, _, _) in values.items()},
        "of": {name: {"n": int(n.sum()), "bins": bins, **limits} for name, (_, n, bins) in values.items()},
        "expected": expected_by_chance(plain),
        "reliability": _reliability(plain)[0],
    }


def _per_class(truth: Truth, sums: _Sums) -> dict[str, dict[str, Any]]:
    counts = sums.d_ece.n.sum(axis=1)
    order = np.argsort(sums.classes, kind="stable")
    parts = np.split(order, np.cumsum(counts)[:-1])
    numbers = zip(
        _errors(sums.d_ece),
        _errors(sums.la_ece0),
        (ece(adaptive_bins(sums.scores[part], sums.right[part], BINS)) for part in parts),
        _errors(sums.count_ece),
        _reliability(sums.d_ece),
        strict=True,
    )
    keys = ("d_ece", "la_ece0", "adaptive_ece", "count_ece", "reliability")
    return {
        name: {**(dict(zip(keys, found, strict=True)) if there else dict.fromkeys(keys)), "n": n}
        for name, there, n, found in zip(truth.classes, _with_truth(truth), counts.tolist(), numbers, strict=True)
    }


def _with_truth(truth: Truth) -> Bools:
    """bool [K], the classes that have true boxes; a crowd region is none."""
    known = np.zeros(len(truth.classes), np.bool_)
    known[truth.categories[~truth.crowd]] = True
    return known


def _errors(sums: BinSums) -> list[float | None]:
    """Of each group, None without members."""
    return [None if np.isnan(error) else error for error in sums.ece().tolist()]


def _mean(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return fmean(known) if known else None


def _reliability(sums: BinSums) -> list[list[dict[str, Any]]]:
    """Of each group its bins."""
    return [
        [
            {
                "low": m / BINS,
                "high": (m + 1) / BINS,
                "n": n,
                "confidence": confidence / n if n else None,
                "precision": right / n if n else None,
            }
            for m, (n, confidence, right) in enumerate(zip(*group, strict=True))
        ]
        for group in zip(sums.n.tolist(), sums.confidence.tolist(), sums.target.tolist(), strict=True)
    ]
