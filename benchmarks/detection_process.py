"""One evaluation of detections in a process of its own, which tells its seconds and its peak memory.

`python -m benchmarks.detection_process SIDE ANNOTATIONS FLOOR NUMBER` simulates NUMBER detections from confidence FLOOR
on and prints a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.import_process import PeakMemory
from benchmarks.simulated_detections import simulated
from visionjobs.boxes import Detections, Truth
from visionjobs.coco_json import read_annotations
from visionjobs.metrics.detection import evaluate_floor

WARM_UP = 100
"""So many detections are evaluated first, uncounted: libraries are loaded late."""


def ours(truth: Truth, detections: Detections, floor: float) -> tuple[float, float | None]:
    """Seconds of the whole evaluation: twelve numbers, TIDE for all and by size in both readings, calibration; AP."""
    started = time.perf_counter()
    found = evaluate_floor(truth, detections, floor)
    return time.perf_counter() - started, found.metrics["coco"]["AP"]


def theirs(truth: Truth, detections: Detections, floor: float) -> tuple[float, float | None]:
    """Seconds of pycocotools' COCOeval alone, evaluate and accumulate, without loading its two sides; AP."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = detections.above(floor)
    with contextlib.redirect_stdout(sys.stderr):
        apis = []
        for annotations in (
            _annotations(truth, truth.areas, iscrowd=truth.crowd.astype(int)),
            _annotations(found, found.areas, iscrowd=np.zeros(len(found), int), score=found.scores),
        ):
            api = COCO()
            api.dataset = {
                "images": [{"id": number} for number in range(len(truth.image_ids))],
                "categories": [{"id": number} for number in range(len(truth.category_ids))],
                "annotations": annotations,
            }
            api.createIndex()
            apis.append(api)
        evaluation = COCOeval(*apis, "bbox")
        started = time.perf_counter()
        evaluation.evaluate()
        evaluation.accumulate()
        seconds = time.perf_counter() - started
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    there = precision[precision > -1]
    return seconds, float(there.mean()) if there.size else None


def _annotations(boxes: Truth | Detections, areas: np.ndarray[Any, Any], **others: np.ndarray[Any, Any]) -> list[Any]:
    """COCO's dictionaries; ids of images and categories are the indices."""
    columns = {
        "id": range(1, len(boxes) + 1),
        "image_id": boxes.images.tolist(),
        "category_id": boxes.categories.tolist(),
        "bbox": boxes.boxes.tolist(),
        "area": areas.tolist(),
        **{name: values.tolist() for name, values in others.items()},
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


SIDES = {"visionjobs": ours, "pycocotools": theirs}


def main() -> None:
    """Evaluate and tell."""
    side, annotations, floor, number = sys.argv[1:]
    truth = read_annotations(Path(annotations).read_bytes(), annotations)
    detections = simulated(truth, 0, int(number), floor=float(floor))
    SIDES[side](truth, detections.where(np.arange(min(WARM_UP, len(detections)))), float(floor))
    memory = PeakMemory()
    seconds, ap = SIDES[side](truth, detections, float(floor))
    memory.stop()
    print(json.dumps({"seconds": seconds, "peak_bytes": memory.resident, "ap": ap}))


if __name__ == "__main__":
    main()
