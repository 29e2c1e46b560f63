"""All that is said of a detector's boxes: COCO's numbers, TIDE's errors and calibration, at each confidence floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visionjobs.boxes import Bools, Detections, Floats, Truth, count_by_class, floor_key
from visionjobs.detection_curves import DetectionCurves
from visionjobs.metrics.coco import CocoResult, coco_eval
from visionjobs.metrics.detection_calibration import confidence_histogram, detection_calibration
from visionjobs.metrics.tide import tide_by_size, tide_ignore_by_size

OnStage = Callable[[str], None]


@dataclass(frozen=True)
class FloorResult:
    """At one confidence floor. metrics: the entry of `floors` in metrics.json; curves: as CocoResult; detections: those
    above the floor; codes: uint8, of each its error (metrics/tide.py, all sizes); missed: bool, of each true box."""

    metrics: dict[str, Any]
    curves: Floats
    detections: Detections
    codes: npt.NDArray[np.uint8]
    missed: Bools


@dataclass(frozen=True)
class DetectionResult:
    """floors: one result a floor, in their order; metrics: the `metrics` object of metrics.json."""

    metrics: dict[str, Any]
    floors: tuple[FloorResult, ...]
    curves: DetectionCurves

    def to_dict(self) -> dict[str, Any]:
        """The `metrics` object of metrics.json."""
        return self.metrics


def evaluate(
    truth: Truth, detections: Detections, floors: Sequence[float], on_stage: OnStage = lambda _: None
) -> DetectionResult:
    """Everything, at each of `floors`. detections: those at the lowest one."""
    results = []
    for floor in floors:
        on_stage(f"evaluating at confidence {floor_key(floor)}")
        results.append(evaluate_floor(truth, detections, floor))
    metrics = {
        "images": len(truth.image_ids),
        "boxes": int((~truth.crowd).sum()),
        "crowd": int(truth.crowd.sum()),
        "categories": len(truth.classes),
        "floors": {floor_key(floor): result.metrics for floor, result in zip(floors, results, strict=True)},
    }
    curves = DetectionCurves(
        np.array(floors, np.float64), np.array(truth.classes, np.str_), np.stack([found.curves for found in results])
    )
    return DetectionResult(metrics, tuple(results), curves)


def evaluate_floor(truth: Truth, detections: Detections, floor: float) -> FloorResult:
    """The detections with at least this confidence, evaluated in every way."""
    found = detections.above(floor)
    coco = coco_eval(truth, found)
    errors = tide_by_size(truth, found)
    metrics = {
        "detections": len(found),
        "coco": coco.numbers,
        "per_class": _per_class(truth, found, coco),
        "tide": {size: result.to_dict() for size, result in errors.items()},
        "tide_ignore": {size: result.to_dict() for size, result in tide_ignore_by_size(truth, found).items()},
        "calibration": detection_calibration(truth, found, floor),
        "histogram": confidence_histogram(truth, found),
    }
    return FloorResult(metrics, coco.curves, found, errors["all"].codes, errors["all"].missed)


def _per_class(truth: Truth, detections: Detections, coco: CocoResult) -> dict[str, dict[str, float | int | None]]:
    """AP and AR of each class, beside its true boxes (without crowd), the images that have some, and its detections."""
    images, boxes = count_by_class(truth)
    found = np.bincount(detections.categories, minlength=len(truth.classes))
    return {
        name: {
            **coco.per_class[name],
            "boxes": int(boxes[k]),
            "images": int(images[k]),
            "detections": int(found[k]),
        }
        for k, name in enumerate(truth.classes)
    }
