"""COCO's numbers: against pycocotools, and against its demo's published twelve."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from detection_cases import genuine, random_case
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


@pytest.mark.parametrize("seed", range(8))
def test_random_cases_are_pycocotools(seed: int) -> None:
    assert_equal(*random_case(seed))


def test_more_than_100_detections_of_a_class_in_an_image() -> None:
    truth, found = random_case(11, detections=900, images=3, classes=3, side=300)
    of_one = (found.images == 0) & (found.categories == 0)
    assert of_one.sum() > 100
    assert_equal(truth, found)


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


def test_genuine_detections(test_data: Path) -> None:
    assert_equal(*genuine(test_data))
