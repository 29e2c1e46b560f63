"""True boxes and detections for the tests of detection's metrics: drawn at random, simulated, and genuine ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.simulated_detections import simulated
from visionjobs.boxes import Detections, Truth
from visionjobs.coco_json import read_annotations

__all__ = ["genuine", "genuine_truth", "random_case", "simulated"]

DETECTIONS = Path(__file__).parent / "genuine_detections.npz"
"""YOLOv8n's on the genuine images, from confidence .05 on; genuine_detections.md says how they came about."""


def genuine_truth(test_data: Path) -> Truth:
    """158 images of COCO val2017 with their official annotations."""
    file = test_data / "coco_val2017_genuine" / "annotations" / "instances_val2017.json"
    return read_annotations(file.read_bytes(), file.name)


def genuine(test_data: Path) -> tuple[Truth, Detections]:
    """The genuine images' true boxes, and YOLOv8n's 3,200 detections from confidence .05 on (940 from .25 on)."""
    truth = genuine_truth(test_data)
    with np.load(DETECTIONS) as kept:
        return truth, Detections(
            images=np.searchsorted(truth.image_ids, kept["image_ids"]),
            categories=np.searchsorted(truth.category_ids, kept["category_ids"]),
            boxes=kept["boxes"] / 64,
            scores=kept["scores"] / 65535,
        )


def random_case(
    seed: int, *, images: int = 5, classes: int = 4, boxes: int = 30, detections: int = 90, levels: int = 12,
    crowd: float = 0.15, side: int = 60,
) -> tuple[Truth, Detections]:  # fmt: skip
    """Hard by design: boxes at whole places, so that many overlap by exactly the same; `levels` different scores, so
    that many are equal; the last image has no true box, the last class none, and the last but one no detection.

    `crowd`: the share of crowd regions; `side`: of the square, in pixels, that the corners lie in. A true box's `area`
    is its box's or half of it. Half of the detections lie near a true box, the others anywhere.
    """
    random = np.random.default_rng(seed)
    sides = random.integers(2, 2 * side, (boxes, 2)) if boxes else np.zeros((0, 2), int)
    true = np.concatenate([random.integers(0, side, (boxes, 2)), sides], axis=1).astype(float)
    truth = Truth(
        image_ids=np.arange(images) * 3 + 5,
        paths=tuple(f"{image}.jpg" for image in range(images)),
        image_sizes=np.full((images, 2), 3 * side),
        category_ids=np.arange(classes) * 2 + 1,
        classes=tuple(f"class {k}" for k in range(classes)),
        annotation_ids=np.arange(boxes) + 1,
        images=random.integers(0, max(images - 1, 1), boxes),
        categories=random.integers(0, max(classes - 1, 1), boxes),
        boxes=true,
        areas=true[:, 2] * true[:, 3] * random.choice([0.5, 1.0], boxes),
        crowd=random.random(boxes) < crowd,
    )
    places = np.concatenate(
        [random.integers(0, side, (detections, 2)), random.integers(1, 2 * side, (detections, 2))], axis=1
    )
    found_in, found_as = random.integers(0, images, detections), random.integers(0, classes, detections)
    if boxes:
        source, near = random.integers(0, boxes, detections), random.random(detections) < 0.5
        jittered = (true[source] + random.integers(-4, 5, (detections, 4))).clip(1)
        places = np.where(near[:, None], jittered, places)
        found_in = np.where(near, truth.images[source], found_in)
        found_as = np.where(near & (random.random(detections) < 0.7), truth.categories[source], found_as)
    unseen = max(classes - 2, 0)
    kept = (found_as != unseen) | (classes < 3)
    scores = random.integers(1, levels + 1, detections) / levels
    return truth, Detections(found_in, found_as, places.astype(float), scores).where(kept)
