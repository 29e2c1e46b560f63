"""AP50 with weighted images: against pycocotools on images that are there several times; the bootstrap over them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detection_cases import genuine, random_case
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionjobs.boxes import Detections, Truth
from visionjobs.metrics.box_matching import match
from visionjobs.metrics.detection_bootstrap import AveragePrecision, matched, paired_difference, resampled_ap50


def pycocotools_ap50(truth: Truth, detections: Detections, times: np.ndarray) -> float | None:
    """The reference's number, each image as often as `times` says, one copy after the other."""
    copies = np.repeat(np.arange(len(truth.image_ids)), times)
    apis = []
    for boxes in (truth, detections):
        listed = []
        for number, image in enumerate(copies):
            for row in np.flatnonzero(boxes.images == image):
                x, y, width, height = boxes.boxes[row].tolist()
                entry = {"id": len(listed) + 1, "image_id": number, "category_id": int(boxes.categories[row]),
                         "bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}  # fmt: skip
                more = {"iscrowd": int(boxes.crowd[row])} if boxes is truth else {"score": float(boxes.scores[row])}
                listed.append(entry | more)
        api = COCO()
        api.dataset = {
            "images": [{"id": number} for number in range(len(copies))],
            "categories": [{"id": number} for number in range(len(truth.classes))],
            "annotations": listed,
        }
        apis.append(api)
    with contextlib.redirect_stdout(io.StringIO()):
        for api in apis:
            api.createIndex()
        evaluation = COCOeval(*apis, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean()) if (precision > -1).any() else None


@given(seed=st.integers(0, 2**31), crowd=st.sampled_from([0.0, 0.3]), number=st.sampled_from([0, 5, 90]))
@settings(max_examples=40)
def test_each_image_once_is_pycocotools(seed: int, crowd: float, number: int) -> None:
    truth, detections = random_case(seed, crowd=crowd, detections=number)
    once = np.ones(len(truth.image_ids), np.int64)
    expected = pycocotools_ap50(truth, detections, once)
    ours = AveragePrecision(matched(truth, detections))
    assert ours() == ours(once) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 2**31), times=st.lists(st.integers(0, 3), min_size=5, max_size=5))
@settings(max_examples=60)
def test_repeated_images_are_pycocotools_on_copies(seed: int, times: list[int]) -> None:
    truth, detections = random_case(seed)
    scores = np.random.default_rng(seed).permutation(len(detections)) / max(len(detections), 1)
    detections = replace(detections, scores=scores)  # all different: equal ones may stand in several orders
    expected = pycocotools_ap50(truth, detections, np.array(times))
    ours = AveragePrecision(matched(truth, detections))(np.array(times, np.int64))
    assert ours == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_genuine_detections(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    images = len(truth.image_ids)
    times = np.bincount(np.random.default_rng(4).integers(images, size=images), minlength=images)
    for floor in (0.05, 0.25):
        kept = detections.above(floor)
        ours = AveragePrecision(matched(truth, kept))
        for weights in (np.ones(images, np.int64), times):
            assert ours(weights) == pytest.approx(pycocotools_ap50(truth, kept, weights), abs=1e-12)


def test_of_a_class_an_image_has_100_detections() -> None:
    """The true box is found by the 101st detection only: as in COCOeval, too late; another class has 100 of its own."""
    truth, _ = random_case(1, images=1, classes=2, boxes=2, crowd=0.0)
    truth = replace(truth, images=np.zeros(2, np.int64), categories=np.array([0, 1]))
    away = np.full((100, 4), 500.0)
    scores = np.linspace(1, 0.5, 101)
    boxes = np.concatenate([away, truth.boxes[:1], away[:99], truth.boxes[1:]])
    detections = Detections(
        np.zeros(201, np.int64), np.repeat([0, 1], [101, 100]), boxes, np.concatenate([scores, scores[:100]])
    )
    kept = matched(truth, detections)
    assert len(kept.images) == 200
    assert kept.right.tolist() == [False] * 199 + [True]
    assert AveragePrecision(kept)() == pytest.approx(pycocotools_ap50(truth, detections, np.array([1])))
    assert match(truth, detections, max_dets=201).right.sum() == 2


def test_by_hand() -> None:
    """Two classes on two images. Class 0: right (.9, image 0), wrong (.8, image 1), right (.7, image 1); 2 true boxes:
    precision 1 up to recall 1/2 (51 recalls), 2/3 up to 1 (50). Class 1: one true box on image 1, found. With image 0
    three times: right x3, wrong, right; 4 true boxes: 1 up to 3/4 (76 recalls), 4/5 up to 1 (25)."""
    truth, _ = random_case(0, images=2, classes=2, boxes=3, crowd=0.0)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 10, 10]], float)
    truth = replace(truth, images=np.array([0, 1, 1]), categories=np.array([0, 0, 1]), boxes=boxes)
    detections = Detections(
        images=np.array([1, 0, 1, 1]),
        categories=np.array([0, 0, 0, 1]),
        boxes=np.array([[80, 80, 5, 5], [0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 10, 10]], float),
        scores=np.array([0.8, 0.9, 0.7, 0.3]),
    )
    kept = matched(truth, detections)
    ours = AveragePrecision(kept)
    assert ours() == pytest.approx(((51 + 50 * 2 / 3) / 101 + 1) / 2)
    assert ours(np.array([3, 1])) == pytest.approx(((76 + 25 * 4 / 5) / 101 + 1) / 2)
    assert ours(np.array([2, 0])) == pytest.approx(1.0), "class 1 has no true box then: it is left out"
    assert kept.errors.tolist() == [0, 1]
    assert matched(truth, detections.where(np.array([True, False, True, True]))).errors.tolist() == [1, 1]


def test_nothing_true_is_none_and_nothing_found_is_0() -> None:
    truth, detections = random_case(5)
    assert AveragePrecision(matched(truth, detections.above(2.0)))() == 0
    empty = truth.where(truth.crowd)
    assert AveragePrecision(matched(empty, detections))() is None
    drawn = resampled_ap50(matched(empty, detections), resamples=3)
    assert np.isnan(drawn).all()
    assert paired_difference(None, None, drawn, drawn) is None


def test_resamples_are_those_of_a_slow_loop() -> None:
    truth, detections = random_case(8, levels=1000)
    images, generator = len(truth.image_ids), np.random.default_rng(3)
    expected = []
    for _ in range(20):
        times = np.bincount(generator.integers(images, size=images), minlength=images)
        found = pycocotools_ap50(truth, detections, times)
        expected.append(np.nan if found is None else found)
    ours = resampled_ap50(matched(truth, detections), resamples=20, seed=3)
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_a_detector_does_not_differ_from_itself_and_does_from_a_worse_one(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    kept = detections.above(0.25)
    worse = kept.where(np.random.default_rng(0).random(len(kept)) < 0.6)
    ap50, drawn = [], []
    for found in (kept, worse):
        boxes = matched(truth, found)
        ap50.append(AveragePrecision(boxes)())
        drawn.append(resampled_ap50(boxes, resamples=300))
    assert paired_difference(ap50[0], ap50[0], drawn[0], drawn[0]) == (0, 0, 0)
    difference = paired_difference(ap50[0], ap50[1], drawn[0], drawn[1])
    assert difference is not None
    assert 0 < difference.low < difference.difference < difference.high
    wide = paired_difference(ap50[0], ap50[1], drawn[0], drawn[1], level=0.99)
    assert wide is not None
    assert wide.low < difference.low < difference.high < wide.high
    unpaired = paired_difference(ap50[0], ap50[1], drawn[0], drawn[1][::-1])
    assert unpaired is not None
    assert difference.high - difference.low < unpaired.high - unpaired.low, "the same images were drawn for both"
    with pytest.raises(ValueError, match="300 and 299"):
        paired_difference(0.5, 0.4, drawn[0], drawn[1][1:])
