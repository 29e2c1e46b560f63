"""What a simple recalibration of a detector's confidences would bring: fitted on one half of the images, shown on the
other, where it was not fitted.

After Kuzucu et al., "On Calibration of Object Detectors: Pitfalls, Evaluation and Baselines", ECCV 2024, who fit after
training, too; here one map serves all classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from visionjobs.boxes import Bools, Floats, Ints
from visionjobs.metrics.confidence_bins import bin_sums

SEED = 0
SMALLEST, LARGEST = 0.01, 100.0
"""Between these a temperature is looked for."""

CLIP = 1e-9
"""A logit needs a confidence above 0 and below 1: by so much."""


def recalibration(confidence: Floats, right: Bools, images: Ints, number: int, bins: int) -> dict[str, Any]:
    """The `recalibrated` object of metrics.json: D-ECE in `bins` equal bins, before and after.

    confidence float64 [n], right bool [n] and images int64 [n] of the detections; number: of all images, with
    detections or without. None where a half has no detections, or the first half not both right and wrong ones.
    """
    first = np.zeros(number, np.bool_)
    first[np.random.default_rng(SEED).permutation(number)[: number // 2]] = True
    fitted = first[images]
    known, known_right = confidence[fitted], right[fitted]
    shown, shown_right = confidence[~fitted], right[~fitted]
    before = _d_ece(shown, shown_right, bins)
    temperature, scaled, stepped = None, None, None
    if known_right.any() and not known_right.all():
        temperature = fit_temperature(known, known_right)
        scaled = _d_ece(with_temperature(shown, temperature), shown_right, bins)
        stepped = _d_ece(isotonic(known, known_right, shown), shown_right, bins)
    return {
        "temperature": {"parameter": temperature, "d_ece_before": before, "d_ece_after": scaled},
        "isotonic": {"d_ece_before": before, "d_ece_after": stepped},
        "fitted_on": int(first.sum()),
        "shown_on": int(number - first.sum()),
    }


def fit_temperature(confidence: Floats, right: Bools) -> float:
    """The temperature with the smallest negative log likelihood, from SMALLEST to LARGEST.

    Guo et al. 2017, section 4.2, for one sigmoid: confidence is sigmoid(z), and becomes sigmoid(z / T).
    """
    from scipy.optimize import minimize_scalar

    logits = _logits(confidence)
    signed = np.where(right, -logits, logits)
    found = minimize_scalar(
        lambda log: np.logaddexp(0, signed * np.exp(-log)).mean(),
        bounds=(np.log(SMALLEST), np.log(LARGEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def with_temperature(confidence: Floats, temperature: float) -> Floats:
    """sigmoid(logit(confidence) / temperature), float64 [n]."""
    from scipy.special import expit

    return np.asarray(expit(_logits(confidence) / temperature), np.float64)


def isotonic(confidence: Floats, right: Bools, new: Floats) -> Floats:
    """`new` through the ascending step function that fits confidence -> right best (least squares)."""
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence, right)
    return np.asarray(steps.predict(new), np.float64) if len(new) else new


def _logits(confidence: Floats) -> Floats:
    from scipy.special import logit

    return np.asarray(logit(confidence.clip(CLIP, 1 - CLIP)), np.float64)


def _d_ece(confidence: Floats, right: Bools, bins: int) -> float | None:
    return float(bin_sums(confidence, right, bins).ece()[0]) if len(confidence) else None
