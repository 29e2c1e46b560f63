"""Calibration of a classifier's confidence: reliability curves and their expected calibration error (ECE).

All in float64 and in fractions of 1. Numpy alone, so that a report can use it without torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Number of bins, as in Guo et al. 2017, section 4."""

ROUNDING = 1e-12
"""A confidence at most so far above an edge lies on it. Softmax differs by 1e-16 between libraries, and confidences
that are an edge do occur: a model that knows nothing gives each of three classes 1/3."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """n samples with confidences from low to high: the share that is correct, and the mean confidence.

    Both are None in an empty bin; the mean is None too where a confidence is not a number.
    """

    low: float
    high: float
    n: int
    accuracy: float | None
    confidence: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self).copy()


def edges(bins: int = BINS) -> Floats:
    """The inner edges of the equal bins, m/bins for m = 1..bins-1, float64 [bins - 1]."""
    return np.arange(1, bins) / bins


def bin_numbers(confidence: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each confidence, int64 [n]: number m (from 0) is (m/bins, (m+1)/bins], and 0 is in the first.

    What is not a number goes to the last one. Source: Guo et al., "On Calibration of Modern Neural Networks",
    ICML 2017, section 2; Kuzucu et al.'s own code for detectors (ECCV 2024) has the same edges.
    """
    return np.searchsorted(edges(bins) + ROUNDING, confidence, side="left")


def equal_bins(
    n: npt.NDArray[np.int64], correct: npt.NDArray[np.int64], confidence_sum: npt.NDArray[np.float64]
) -> tuple[Bin, ...]:
    """The 15 bins of equal width, from counts that add up over batches and workers, each [15]."""
    limits = [0.0, *edges().tolist(), 1.0]
    return tuple(
        _bin(*parts)
        for parts in zip(limits[:-1], limits[1:], n.tolist(), correct.tolist(), confidence_sum.tolist(), strict=True)
    )


def reliability(confidence: Floats, correct: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The 15 bins of equal width of samples, confidence float64 [n] and correct bool [n]."""
    number = bin_numbers(confidence)
    return equal_bins(
        np.bincount(number, minlength=BINS),
        np.bincount(number[correct], minlength=BINS),
        np.bincount(number, weights=confidence, minlength=BINS).astype(np.float64),
    )


def adaptive_bins(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal mass over the sorted confidences, float64 [n], with correct bool [n]; low and high are the
    smallest and largest confidence in a bin.

    Sizes differ by one at most, the larger ones first; fewer samples than bins make a bin each. Samples of the same
    confidence all count as correct to the same degree, the share of them that is: where such a group falls into
    several bins, neither the order of the samples nor a rule for ties decides on the result.
    () where a confidence is not a number, as there is no order then.
    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", EMNLP 2015, section 3; Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019.
    """
    if not len(confidence) or np.isnan(confidence).any():
        return ()
    values, group, size = np.unique(confidence, return_inverse=True, return_counts=True)
    shares = (np.bincount(group, weights=correct) / size)[np.sort(group)]
    parts = min(bins, len(confidence))
    return tuple(
        _bin(float(part[0]), float(part[-1]), len(part), float(share.sum()), float(part.sum()))
        for part, share in zip(
            np.array_split(np.repeat(values, size), parts), np.array_split(shares, parts), strict=True
        )
    )


def ece(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: the mean of |accuracy - confidence| over the bins, weighted by their samples.

    Of bins of equal width it is the ECE (Guo et al. 2017, equation 3), of bins of equal mass the adaptive ECE.
    None without samples, or where a confidence is not a number.
    """
    gaps: list[float] = []
    for one in bins:
        if not one.n:
            continue
        if one.accuracy is None or one.confidence is None:
            return None
        gaps.append(one.n * abs(one.accuracy - one.confidence))
    return math.fsum(gaps) / sum(one.n for one in bins) if gaps else None


def calibration(confidence: Floats, correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The `calibration` object of metrics.json, of confidence float64 [n] and correct bool [n]."""
    return {
        "n": len(confidence),
        "bins": BINS,
        "reliability": [one.to_dict() for one in reliability(confidence, correct)],
        "adaptive": [one.to_dict() for one in adaptive_bins(confidence, correct)],
    }


def _bin(low: float, high: float, n: int, correct: float, confidence_sum: float) -> Bin:
    if not n:
        return Bin(low, high, 0, None, None)
    mean = confidence_sum / n
    return Bin(low, high, n, correct / n, mean if math.isfinite(mean) else None)
