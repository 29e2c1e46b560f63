"""The whole of an evaluation: its keys, what a floor is, and the genuine images' published readings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detection_cases import genuine, random_case

from visionjobs.boxes import Detections
from visionjobs.detection_curves import DetectionCurves
from visionjobs.metrics.box_scene_choice import SURE, suspects, worst_images
from visionjobs.metrics.coco import NAMES
from visionjobs.metrics.detection import DetectionResult, evaluate, evaluate_floor
from visionjobs.metrics.tide import ERRORS
from visionjobs.spec import flatten

FLOORS = (0.05, 0.25)
SIZES = ("all", "small", "medium", "large")
TIDE = {"ap50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FP", "FN"}


@pytest.fixture(scope="module")
def result(test_data: Path) -> DetectionResult:
    return evaluate(*genuine(test_data), FLOORS)


def test_the_metrics_have_the_keys_that_scripts_rely_on(result: DetectionResult) -> None:
    metrics = result.to_dict()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert {key: metrics[key] for key in ("images", "boxes", "crowd", "categories")} == {
        "images": 158, "boxes": 1408, "crowd": 16, "categories": 80,
    }  # fmt: skip
    assert list(metrics["floors"]) == ["0.05", "0.25"]
    for found in metrics["floors"].values():
        assert set(found["coco"]) == set(NAMES)
        assert set(found["tide"]) == set(SIZES)
        assert set(found["tide_ignore"]) == set(SIZES[1:])
        assert all(set(errors) == TIDE for errors in (*found["tide"].values(), *found["tide_ignore"].values()))
        for size in SIZES:
            calibration = found["calibration"][size]
            values = {"d_ece", "la_ece0", "adaptive_ece", "count_ece", "d_ece_filtered"}
            assert set(calibration) == values | {"of", "expected", "reliability"}
            assert set(calibration["of"]) == values
            assert all(set(of) == {"n", "bins", "floor", "max_dets"} for of in calibration["of"].values())
        assert set(found["per_class"]) == set(found["calibration"]["per_class"]) == set(result.curves.classes.tolist())
        assert len(found["histogram"]) == 20
    assert flatten(metrics)["floors.0.25.coco.AP"] == metrics["floors"]["0.25"]["coco"]["AP"]


def test_a_floor_is_a_filter_over_one_and_the_same_detections(test_data: Path, result: DetectionResult) -> None:
    truth, found = genuine(test_data)
    alone = evaluate_floor(truth, found.where(found.scores >= 0.25), 0.25)
    assert alone.metrics == result.floors[1].metrics
    assert alone.metrics["detections"] == int((found.scores >= 0.25).sum()) < len(found)


def test_size_readings_of_the_genuine_images(result: DetectionResult) -> None:
    """Large objects at .25: 48.8 where the others are dropped, 55.4 where they are ignored, and COCOeval's own."""
    found = result.to_dict()["floors"]["0.25"]
    assert found["tide"]["large"]["ap50"] == pytest.approx(48.8, abs=0.1)
    assert found["tide_ignore"]["large"]["ap50"] == pytest.approx(55.4, abs=0.1)


def test_a_class_without_boxes_is_not_0() -> None:
    truth, detections = random_case(5)
    scores = evaluate_floor(truth, detections, 0.001).metrics["per_class"][truth.classes[-1]]
    assert [scores[key] for key in ("AP", "AP50", "AP75", "AR100")] == [None] * 4
    assert (scores["boxes"], scores["images"]) == (0, 0)
    assert scores["detections"] > 0


def test_boxes_images_and_detections_of_a_class() -> None:
    truth, detections = random_case(4)
    per_class = evaluate_floor(truth, detections, 0.001).metrics["per_class"]
    for k, name in enumerate(truth.classes):
        of_class = (truth.categories == k) & ~truth.crowd
        assert per_class[name]["boxes"] == of_class.sum()
        assert per_class[name]["images"] == len(set(truth.images[of_class].tolist()))
        assert per_class[name]["detections"] == (detections.categories == k).sum()


def test_nothing_found_at_all() -> None:
    truth, detections = random_case(1)
    metrics = evaluate(truth, detections.above(2.0), FLOORS).to_dict()
    found = metrics["floors"]["0.25"]
    assert (found["detections"], found["coco"]["AP"], found["tide"]["all"]["ap50"]) == (0, 0, 0)
    assert found["calibration"]["all"]["d_ece"] is None
    json.dumps(metrics, allow_nan=False)


def test_no_true_boxes_at_all() -> None:
    truth, detections = random_case(2)
    metrics = evaluate(truth.where(np.zeros(len(truth), bool)), detections, FLOORS).to_dict()
    found = metrics["floors"]["0.25"]
    assert set(found["coco"].values()) == {None}
    assert found["tide"]["all"]["ap50"] is None
    assert found["calibration"]["all"]["d_ece"] > 0  # every detection is wrong
    json.dumps(metrics, allow_nan=False)


def test_curves_are_kept_for_each_floor(result: DetectionResult) -> None:
    curves = DetectionCurves.from_npz(result.curves.to_npz(), "curves.npz")
    assert curves.floors.tolist() == list(FLOORS)
    assert curves.precisions.shape == (2, 2, 80, 101)
    mean = np.nanmean(curves.precisions[0, 0])
    assert mean == pytest.approx(result.to_dict()["floors"]["0.05"]["coco"]["AP50"])


def test_worst_images_are_those_with_most_errors(test_data: Path, result: DetectionResult) -> None:
    truth, _ = genuine(test_data)
    found = result.floors[1]
    errors = [
        int(((found.codes > 0) & (found.codes < len(ERRORS)) & (found.detections.images == image)).sum())
        + int((found.missed & (truth.images == image)).sum())
        for image in range(len(truth.image_ids))
    ]
    chosen = worst_images(truth, found)
    assert [errors[image] for image in chosen] == sorted(errors, reverse=True)[: len(chosen)]
    assert errors[chosen[-1]] > 0


def test_suspects_are_confident_and_one_of_each_image(result: DetectionResult) -> None:
    found = result.floors[1]
    chosen = suspects(found)
    scores = found.detections.scores[chosen]
    assert len(chosen) > 3
    assert (scores >= SURE).all()
    assert (np.diff(scores) <= 0).all()
    assert len(set(found.detections.images[chosen].tolist())) == len(chosen)
    assert {ERRORS[code] for code in found.codes[chosen]} <= {"Cls", "Bkg"}


def test_a_perfect_detector() -> None:
    truth, _ = random_case(3, crowd=0.0, side=400)
    found = Detections(truth.images, truth.categories, truth.boxes, np.full(len(truth), 0.9))
    result = evaluate_floor(truth, found, 0.25)
    assert result.metrics["coco"]["AP"] == pytest.approx(1)
    assert result.metrics["tide"]["all"]["Miss"] == pytest.approx(0)
    assert len(worst_images(truth, result)) == 0
    assert len(suspects(result)) == 0
    assert result.metrics["calibration"]["all"]["d_ece"] == pytest.approx(0.1)
