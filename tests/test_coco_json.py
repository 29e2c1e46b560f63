"""COCO's JSON formats: what is read, and what each mistake is told as."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from visionjobs.boxes import Detections, floor_key, of_size
from visionjobs.coco_json import read_annotations, read_results, write_annotations, write_results
from visionjobs.errors import UserError


def annotations(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 9, "file_name": "b.jpg", "width": 640, "height": 480},
            {"id": 4, "file_name": "a.jpg", "width": 320, "height": 240},
        ],
        "annotations": [
            {"id": 70, "image_id": 9, "category_id": 18, "bbox": [10, 20.5, 30, 40], "area": 700.5, "iscrowd": 0},
            {"id": 71, "image_id": 4, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 20, "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    } | changes


def read(value: Any) -> Any:
    return read_annotations(json.dumps(value).encode(), "instances.json")


def test_annotations_become_arrays() -> None:
    truth = read(annotations())
    assert truth.image_ids.tolist() == [4, 9]
    assert truth.paths == ("a.jpg", "b.jpg")
    assert truth.image_sizes.tolist() == [[240, 320], [480, 640]]
    assert (truth.category_ids.tolist(), truth.classes) == ([1, 18], ("person", "dog"))
    assert (truth.images.tolist(), truth.categories.tolist()) == ([1, 0], [1, 0])
    assert truth.boxes.tolist() == [[10, 20.5, 30, 40], [0, 0, 5, 5]]
    assert (truth.areas.tolist(), truth.crowd.tolist()) == ([700.5, 20], [False, True])
    assert truth.where(truth.crowd).annotation_ids.tolist() == [71]


def test_an_image_without_a_size_and_a_box_without_an_area_or_crowd() -> None:
    bare = annotations(
        images=[{"id": 1, "file_name": "a.jpg"}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    )
    truth = read(bare)
    assert (truth.image_sizes.tolist(), truth.areas.tolist(), truth.crowd.tolist()) == ([[0, 0]], [12], [False])


ENTRY = {"id": 1, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"categories": []}, "instances.json: its categories are empty"),
        ({"categories": None}, 'instances.json: has no list of "categories"'),
        ({"images": []}, "instances.json: its images are empty"),
        ({"annotations": {}}, 'instances.json: has no list of "annotations"'),
        ({"images": [{"id": 1}]}, "lacks 'file_name'"),
        ({"annotations": [ENTRY, ENTRY]}, "the id 1 occurs more than once in annotations"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "the id 1 occurs more than once in categ"),
        ({"annotations": [ENTRY | {"image_id": 5}]}, "entry 0 has the image_id 5, which is none of"),
        ({"annotations": [ENTRY | {"category_id": 90}]}, "entry 0 has the category_id 90"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, -3, 4]}]}, "has the box [1.0, 2.0, -3.0, 4.0]"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, float("nan"), 4]}]}, "has the box [1.0, 2.0, nan, 4.0]"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, 3]}]}, "another form than COCO's"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, 1e7, 4]}]}, "has the box [1.0, 2.0, 10000000.0, 4.0]"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, "3", 4]}]}, "'3' is no number"),
        ({"annotations": [ENTRY | {"bbox": [1, 2, int("9" * 400), 4]}]}, "another form than COCO's"),
        ({"annotations": [ENTRY | {"id": 2**70}]}, "another form than COCO's"),
        ({"annotations": [ENTRY | {"area": float("nan")}]}, "the annotation 1 has the area nan"),
        ({"annotations": [ENTRY | {"area": -5}]}, "the annotation 1 has the area -5.0"),
        ({"annotations": [ENTRY | {"area": float("inf")}]}, "the annotation 1 has the area inf"),
        ({"annotations": [ENTRY | {"area": "9"}]}, "'9' is no number"),
        ({"annotations": [ENTRY | {"iscrowd": "0"}]}, "iscrowd is '0', expected 0 or 1"),
        ({"categories": [{"id": 1, "name": "7"}, {"id": 18, "name": 7}]}, 'the name "7" is that of more than one'),
        ({"annotations": [ENTRY | {"bbox": "box"}]}, "another form than COCO's"),
        ({"annotations": [ENTRY | {"id": "one"}]}, "another form than COCO's"),
        ({"annotations": [7]}, "another form than COCO's"),
    ],
)  # fmt: skip
def test_mistakes_in_annotations(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        read(annotations(**changes))
    assert told in str(caught.value)
    assert str(caught.value).startswith("instances.json")


@pytest.mark.parametrize("data", [b'{"images": [{"id": 1,', b"", b"\xff\xfe", b"[1, 2]"])
def test_a_file_that_is_cut_off_or_another(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^instances\.json(: expected a JSON object| is not valid JSON .*cut off)"):
        read_annotations(data, "instances.json")


RESULT = {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ({}, "expected a JSON list"),
        ([RESULT, RESULT | {"image_id": 8}], "entry 1 has the image_id 8, which is none of the annotations' images"),
        ([RESULT | {"category_id": 2}], "entry 0 has the category_id 2, which is none of the annotations' categories"),
        ([RESULT | {"bbox": [1, 2, 3, -4]}], "entry 0 of the results has the box [1.0, 2.0, 3.0, -4.0]"),
        ([RESULT | {"bbox": [float("inf"), 2, 3, 4]}], "entry 0 of the results has the box [inf"),
        ([RESULT | {"bbox": [1, 2, 3, None]}], "None is no number"),
        ([RESULT | {"score": "0.5"}], "'0.5' is no number"),
        ([RESULT | {"bbox": [1, 2, 3]}], "another form"),
        ([RESULT | {"score": float("nan")}], "entry 0 has the score nan"),
        ([RESULT, RESULT | {"score": 1.5}], "entry 1 has the score 1.5"),
        ([{"image_id": 9}], "lacks 'category_id'"),
        ([RESULT | {"image_id": True}], "another form"),
        ([[1, 2, 3]], "another form"),
    ],
)
def test_mistakes_in_results(results: Any, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read_results(json.dumps(results).encode(), "results.json", read(annotations()))
    assert told in str(caught.value)
    assert str(caught.value).startswith("results.json")


def test_results_are_written_as_they_are_read() -> None:
    truth = read(annotations())
    found = Detections(
        np.array([1, 0]), np.array([1, 0]), np.array([[1.0004, 2, 3.25, 4], [0, 0, 10, 20]]), np.array([0.123456783, 1])
    )
    data = write_results(truth, found)
    assert json.loads(data)[0] == {"image_id": 9, "category_id": 18, "bbox": [1.0, 2.0, 3.25, 4.0], "score": 0.12345678}
    again = read_results(data, "results.json", truth)
    assert again.images.tolist() == [1, 0]
    assert again.scores.tolist() == [0.12345678, 1]
    assert again.boxes[1].tolist() == [0, 0, 10, 20]
    assert len(read_results(write_results(truth, found.above(2)), "results.json", truth)) == 0


def test_annotations_are_written_as_they_are_read() -> None:
    truth = read(annotations())
    again = read_annotations(write_annotations(truth), "annotations.json")
    assert (again.paths, again.classes) == (truth.paths, truth.classes)
    for field in (
        "image_ids",
        "image_sizes",
        "category_ids",
        "annotation_ids",
        "images",
        "categories",
        "boxes",
        "areas",
    ):
        assert getattr(again, field).tolist() == getattr(truth, field).tolist()
    assert again.crowd.tolist() == truth.crowd.tolist()


def test_sizes_are_coco_s_and_share_no_box() -> None:
    areas = np.array([0, 1023.99, 1024, 9215.99, 9216, 1e9])
    sizes = {size: of_size(areas, size).tolist() for size in ("small", "medium", "large", "all")}
    assert sizes["small"] == [True, True, False, False, False, False]
    assert sizes["medium"] == [False, False, True, True, False, False]
    assert sizes["large"] == [False, False, False, False, True, True]
    assert all(sizes["all"])


def test_floors_as_keys() -> None:
    assert [floor_key(floor) for floor in (0.001, 0.25, 0.3, 1e-05)] == ["0.001", "0.25", "0.3", "1e-05"]


def test_scores_that_differ_in_float32_differ_in_the_file() -> None:
    truth = read(annotations())
    scores = np.nextafter(np.float32(1), np.float32(0)) - np.arange(40, dtype=np.float32) * np.float32(2**-24)
    number = len(scores)
    found = Detections(np.zeros(number, int), np.zeros(number, int), np.ones((number, 4)), scores.astype(np.float64))
    again = read_results(write_results(truth, found), "results.json", truth).scores
    assert len(set(again.tolist())) == number
    assert (np.diff(again) < 0).all()
    np.testing.assert_allclose(again, scores, atol=1e-8)
