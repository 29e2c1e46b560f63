"""Classification metrics that counts cannot give: they need each sample's prediction. No torch."""

from __future__ import annotations

from typing import Any

from visionjobs.metrics.bootstrap import LEVEL, RESAMPLES, intervals
from visionjobs.metrics.calibration import adaptive_bins, calibration, ece
from visionjobs.predictions import Predictions


def sample_metrics(predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """What joins the `metrics` object of metrics.json beside `ClassificationResult.to_dict()`, plain values:

    `adaptive_ece`, None without samples or where a logit is not a number; `calibration` with the bins of both curves;
    `intervals` with [low, high] of each metric, None for what does not exist.
    """
    confidence, correct = predictions.confidence, predictions.correct
    found = intervals(
        predictions.labels,
        predictions.predicted,
        predictions.nll,
        len(predictions.classes),
        resamples=resamples,
        seed=seed,
    )
    return {
        "adaptive_ece": ece(adaptive_bins(confidence, correct)),
        "calibration": calibration(confidence, correct),
        "intervals": {
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "method": "percentile bootstrap over samples",
            **{name: None if interval is None else list(interval) for name, interval in found.items()},
        },
    }
