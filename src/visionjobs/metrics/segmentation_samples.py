"""The segmentation metrics that need each image: boundary F-score and confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.mask_predictions import MaskPredictions
from visionjobs.metrics.bootstrap import LEVEL, RESAMPLES, Interval
from visionjobs.metrics.boundary import boundary_scores, tolerance
from visionjobs.metrics.class_mappings import mappings_for
from visionjobs.metrics.image_bootstrap import confusion_intervals, loss_interval
from visionjobs.metrics.segmentation import folded

METHOD = "percentile bootstrap over images"


def sample_metrics(predicted: MaskPredictions, size: tuple[int, int], *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """`boundary` and `intervals` of metrics.json. size: (height, width) of the masks, in pixels."""
    boundary = boundary_scores(predicted.boundaries.sum(axis=0), predicted.classes)
    intervals: dict[str, Any] = {"method": METHOD, "level": LEVEL, "resamples": resamples, "seed": 0}
    intervals |= _listed(confusion_intervals(predicted.confusions, resamples=resamples))
    intervals |= _listed({"loss": loss_interval(predicted.nll_sums, predicted.nll_pixels, resamples=resamples)})
    for key, mapping in mappings_for(predicted.classes).items():
        found = confusion_intervals(folded(predicted.confusions, mapping), resamples=resamples)
        intervals |= _listed({f"{key}.{name}": ends for name, ends in found.items()})
    return {"boundary": {"tolerance": tolerance(*size), **boundary}, "intervals": intervals}


def _listed(found: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if ends is None else list(ends) for name, ends in found.items()}
