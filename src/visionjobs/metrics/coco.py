"""COCO's average precision and recall: the twelve numbers, by class, and precision-recall curves.

faster-coco-eval does the work; its numbers are those of pycocotools' COCOeval (tests/metrics/test_coco.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from visionjobs.boxes import MAX_DETS, Detections, Floats, Truth
from visionjobs.detection_curves import IOUS, RECALLS
from visionjobs.metrics.box_matching import ranks

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers in COCOeval's order. AP: mean over IoU .50:.05:.95 of the mean over the classes with true boxes of
the precision at 101 recalls; AR1, AR10, AR100: the recall with so many detections an image and class."""


@dataclass(frozen=True)
class CocoResult:
    """numbers: NAMES -> 0..1, None where there is no such true box; per_class: class -> AP, AP50, AP75, AR100;
    curves: float64 [2, K, 101], precision at IOUS and RECALLS, NaN for a class without true boxes."""

    numbers: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    curves: Floats


def coco_eval(truth: Truth, detections: Detections) -> CocoResult:
    """Boxes as COCOeval evaluates them: at most 100 an image and class; crowd regions neither found nor wrong."""
    from faster_coco_eval.core.coco import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    images = [
        {"id": number, "height": height, "width": width}
        for number, (height, width) in enumerate(truth.image_sizes.tolist())
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(truth.classes)]
    true, found = COCO(), COCO()
    for api, listed in ((true, _true(truth)), (found, _found(detections))):
        api.dataset = {"images": images, "categories": categories, "annotations": listed}
        api.createIndex()
    evaluation = COCOeval_faster(true, found, iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precisions, recalls = evaluation.eval["precision"], evaluation.eval["recall"]
    thresholds = evaluation.params.iouThrs
    at = [int(np.argmin(abs(thresholds - iou))) for iou in IOUS]
    per_class = {
        name: {
            "AP": _mean(precisions[:, :, k, 0, -1]),
            "AP50": _mean(precisions[at[0], :, k, 0, -1]),
            "AP75": _mean(precisions[at[1], :, k, 0, -1]),
            "AR100": _mean(recalls[:, k, 0, -1]),
        }
        for k, name in enumerate(truth.classes)
    }
    curves = np.moveaxis(precisions[at, :, :, 0, -1], 1, 2).astype(np.float64)
    if curves.shape[2] != len(RECALLS):
        raise AssertionError("faster-coco-eval measures at other recalls than COCO's 101")
    return CocoResult(_twelve(precisions, recalls, at), per_class, np.where(curves > -1, curves, np.nan))


def _twelve(precisions: Floats, recalls: Floats, at: list[int]) -> dict[str, float | None]:
    """precisions [T, R, K, A, M], recalls [T, K, A, M]: by IoU, recall, class, size, detections; -1 without truth."""
    values = [
        _mean(precisions[:, :, :, 0, -1]),
        *(_mean(precisions[place, :, :, 0, -1]) for place in at),
        *(_mean(precisions[:, :, :, size, -1]) for size in (1, 2, 3)),
        *(_mean(recalls[:, :, 0, number]) for number in (0, 1, 2)),
        *(_mean(recalls[:, :, size, -1]) for size in (1, 2, 3)),
    ]
    return dict(zip(NAMES, values, strict=True))


def _mean(values: Floats) -> float | None:
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _true(truth: Truth) -> list[dict[str, Any]]:
    rows = zip(
        truth.images.tolist(), truth.categories.tolist(), truth.boxes.tolist(), truth.areas.tolist(),
        truth.crowd.astype(int).tolist(), strict=True,
    )  # fmt: skip
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for number, (image, category, box, area, crowd) in enumerate(rows, 1)
    ]


def _found(detections: Detections) -> list[dict[str, Any]]:
    """Only those that COCOeval looks at: the first MAX_DETS of an image and class."""
    groups = detections.images * (detections.categories.max(initial=0) + 1) + detections.categories
    detections = detections.where(ranks(groups, detections.scores) < MAX_DETS)
    rows = zip(
        detections.images.tolist(), detections.categories.tolist(), detections.boxes.tolist(),
        detections.areas.tolist(), detections.scores.tolist(), strict=True,
    )  # fmt: skip
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "score": score,
         "iscrowd": 0}
        for number, (image, category, box, area, score) in enumerate(rows, 1)
    ]  # fmt: skip
