"""Raw COCO datasets that cannot be imported, and what the user is told; nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_files import coco, instances, only, run
from import_helpers import jpeg, write_files

from visionjobs.errors import UserError
from visionjobs.storage import open_store

Change = Callable[[dict[str, Any]], object]

WHERE = "annotations/instances_val2017.json"


def refused(tmp_path: Path, files: dict[str, bytes]) -> str:
    root = open_store(str(tmp_path / "storage"))
    with pytest.raises(UserError) as error:
        run(write_files(tmp_path / "raw", files), root)
    assert root.entries() == []
    return str(error.value)


def set_box(*box: float) -> Change:
    return lambda found: found["annotations"][1].update(bbox=list(box))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_box(1, 2, -3, 4), "has the box [1.0, 2.0, -3.0, 4.0]"),
        (set_box(1, float("nan"), 3, 4), "has the box [1.0, nan, 3.0, 4.0]"),
        (set_box(1, 2, 3, float("inf")), "has the box [1.0, 2.0, 3.0, inf]"),
        (set_box(1, 2, 3), "a bbox needs 4 numbers"),
        (lambda found: found["annotations"][1].update(area=float("nan")), "the annotation 100002 has the area nan"),
        (lambda found: found["annotations"][1].update(area=-5), "the annotation 100002 has the area -5.0"),
        (lambda found: found["annotations"][1].update(category_id=2), "has the category_id 2"),
        (lambda found: found["annotations"][1].update(image_id=5), "has the image_id 5"),
        (lambda found: found["annotations"][1].update(id=100001), "the id 100001 occurs more than once in annotations"),
        (lambda found: found["images"][1].update(id=1000), "the id 1000 occurs more than once in images"),
        (lambda found: found["categories"][1].update(id=1), "the id 1 occurs more than once in categories"),
        (lambda found: found["categories"][1].update(name="cat"), 'the name "cat" is that of more than one category'),
        (lambda found: found["images"][1].update(file_name="01000.jpg"),
         "1000 and 1010 have the same file_name 01000.jpg"),
        (lambda found: found.update(categories=[]), "its categories are empty"),
        (lambda found: found.pop("categories"), 'has no list of "categories"'),
        (lambda found: found.update(images=[], annotations=[]), "its images are empty"),
        (lambda found: found["annotations"][1].pop("bbox"), "lacks 'bbox'"),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong(tmp_path: Path, change: Change, message: str) -> None:
    found = instances("val")
    change(found)
    said = refused(tmp_path, only("val", coco(val=found)))
    assert message in said
    assert f"{tmp_path}/raw/{WHERE}" in said


@pytest.mark.parametrize("data", [b"", b"[]", json.dumps(instances("val")).encode()[:-40]])
def test_a_truncated_annotation_file(tmp_path: Path, data: bytes) -> None:
    said = refused(tmp_path, only("val") | {WHERE: data})
    assert WHERE in said
    assert ("expected a JSON object" if data == b"[]" else "is not valid JSON") in said


def test_no_known_layout(tmp_path: Path) -> None:
    said = refused(tmp_path, {"pictures/1.jpg": jpeg(1)})
    assert "expected COCO's layout (annotations/instances_val2017.json and val2017/" in said
    assert "or YOLO's (data.yaml, images/<split>/" in said


def test_one_level_too_high(tmp_path: Path) -> None:
    assert "did you mean to import coco/ itself?" in refused(tmp_path, {f"coco/{p}": d for p, d in coco().items()})


def test_annotations_without_images(tmp_path: Path) -> None:
    said = refused(tmp_path, {path: data for path, data in coco().items() if "annotations" in path})
    assert "there is no folder val2017/ or images/val2017/ with its images" in said


def test_two_annotation_files_of_a_split(tmp_path: Path) -> None:
    files = coco()
    said = refused(tmp_path, files | {"annotations/instances_val2014.json": files[WHERE]})
    assert "instances_val2014.json and annotations/instances_val2017.json are both annotations of the split val" in said


def test_only_a_train_split(tmp_path: Path) -> None:
    assert "a val or test split is needed to measure on" in refused(tmp_path, only("train"))


def test_the_images_of_a_split_are_not_looked_for_among_those_of_another(tmp_path: Path) -> None:
    said = refused(tmp_path, {p: d for p, d in coco("images/{}2017").items() if not p.startswith("images/val2017")})
    assert "there is only a train split" in said
    assert "annotations/instances_val2017.json is not used: there is no folder val2017/" in said


def test_splits_with_other_categories(tmp_path: Path) -> None:
    found = instances("val")
    found["categories"][1]["name"] = "wolf"
    said = refused(tmp_path, coco(val=found))
    assert "have different categories, such as (3, 'bear')" in said


def test_a_split_without_a_usable_image(tmp_path: Path) -> None:
    files = {path: (b"x" if path.startswith("val2017/") else data) for path, data in coco().items()}
    said = refused(tmp_path, files)
    assert "the split val has no usable image. val2017/01000.jpg: not an image" in said
