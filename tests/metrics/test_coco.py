"""COCO's numbers: against pycocotools, and against its demo's published twelve."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionjobs.boxes import Detections, Truth
from visionjobs.coco_json import read_annotations, read_results
from visionjobs.metrics.coco import NAMES, coco_eval

DEMO = (
    0.504581, 0.696973, 0.572982, 0.585626, 0.519400, 0.501398,
    0.386813, 0.593680, 0.595353, 0.639811, 0.566421, 0.564291,
)  # fmt: skip


def pycocotools_eval(truth: Truth, detections: Detections) -> COCOeval:
    """Evaluated by the reference; ids are the indices."""
    annotations = [
        {"id": g + 1, "image_id": int(truth.images[g]), "category_id": int(truth.categories[g]),
         "bbox": truth.boxes[g].tolist(), "area": float(truth.areas[g]), "iscrowd": int(truth.crowd[g])}
        for g in range(len(truth))
    ]  # fmt: skip
    results = [
        {"id": d + 1, "image_id": int(detections.images[d]), "category_id": int(detections.categories[d]),
         "bbox": detections.boxes[d].tolist(), "area": float(detections.areas[d]), "iscrowd": 0,
         "score": float(detections.scores[d])}
        for d in range(len(detections))
    ]  # fmt: skip
    apis = []
    with contextlib.redirect_stdout(io.StringIO()):
        for listed in (annotations, results):
            api = COCO()
            api.dataset = {
                "images": [{"id": number} for number in range(len(truth.image_ids))],
                "categories": [{"id": number} for number in range(len(truth.classes))],
                "annotations": listed,
            }
            api.createIndex()
            apis.append(api)
        evaluation = COCOeval(*apis, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal(truth: Truth, detections: Detections) -> None:
    ours, theirs = coco_eval(truth, detections), pycocotools_eval(truth, detections)
    for name, expected in zip(NAMES, theirs.stats, strict=True):
        found = ours.numbers[name]
        assert (-1 if found is None else found) == pytest.approx(expected, abs=1e-9), name
    precision, recall = theirs.eval["precision"], theirs.eval["recall"]
    for k, name in enumerate(truth.classes):
        ap, curve = precision[:, :, k, 0, 2], ours.curves[:, k]
        if (ap == -1).all():
            assert set(ours.per_class[name].values()) == {None}
            assert np.isnan(curve).all()
            continue
        expected = {"AP": ap.mean(), "AP50": ap[0].mean(), "AP75": ap[5].mean(), "AR100": recall[:, k, 0, 2].mean()}
        assert ours.per_class[name] == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(curve, ap[[0, 5]], atol=1e-9)


def random_case(seed: int, images: int = 6, classes: int = 4, crowded: int = 0) -> tuple[Truth, Detections]:
    """Boxes on a grid of few places, so that many overlap and many scores are equal; the last class has no truth."""
    random = np.random.default_rng(seed)
    number = 40
    boxes = np.c_[random.integers(0, 60, (number, 2)), random.integers(4, 120, (number, 2))].astype(float)
    truth = Truth(
        image_ids=np.arange(images) * 3 + 5,
        paths=tuple(f"{image}.jpg" for image in range(images)),
        image_sizes=np.full((images, 2), 200),
        category_ids=np.arange(classes) + 1,
        classes=tuple(f"class {k}" for k in range(classes)),
        annotation_ids=np.arange(number) + 1,
        images=random.integers(0, images - 1, number),  # the last image has no truth
        categories=random.integers(0, classes - 1, number),
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3] * random.choice([0.5, 1.0], number),
        crowd=random.random(number) < 0.15,
    )
    near = random.integers(0, number, 3 * number)
    jitter = random.integers(-6, 7, (3 * number, 4))
    found = Detections(
        images=np.r_[truth.images[near], np.full(crowded, 0)],
        categories=np.r_[random.choice([*truth.categories], 3 * number), np.zeros(crowded, int)],
        boxes=np.r_[(truth.boxes[near] + jitter).clip(1), np.tile([[10.0, 10, 50, 50]], (crowded, 1))],
        scores=random.integers(1, 12, 3 * number + crowded) / 12,
    )
    return truth, found


@pytest.mark.parametrize("seed", range(8))
def test_random_cases_are_pycocotools(seed: int) -> None:
    assert_equal(*random_case(seed))


def test_more_than_100_detections_of_a_class_in_an_image() -> None:
    assert_equal(*random_case(11, crowded=150))


def test_no_detections_at_all() -> None:
    truth, found = random_case(1)
    nothing = found.where(np.zeros(len(found), bool))
    assert coco_eval(truth, nothing).numbers["AP"] == 0
    assert_equal(truth, nothing)


def test_no_truth_is_no_number() -> None:
    truth, found = random_case(1)
    assert set(coco_eval(truth.where(np.zeros(len(truth), bool)), found).numbers.values()) == {None}


def test_demo_of_pycocotools(test_data: Path) -> None:
    folder = test_data / "cocoeval_val2014_100"
    truth = read_annotations((folder / "instances_val2014_100.json").read_bytes(), "annotations")
    results = (folder / "instances_val2014_fakebbox100_results.json").read_bytes()
    found = coco_eval(truth, read_results(results, "results", truth)).numbers
    assert tuple(found.values()) == pytest.approx(DEMO, abs=5e-7)
