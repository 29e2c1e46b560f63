"""YOLO's layout as a source: the same dataset as COCO's layout says, and what the user is told where it is wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from coco_files import local, made, run, told, yolo
from hypothesis import given
from hypothesis import strategies as st
from import_helpers import contents, jpeg, picture, write_files
from PIL import Image

from visionjobs.data.coco_dataset import open_boxes
from visionjobs.data.yolo_find import _box
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def test_what_a_whole_import_leaves(tmp_path: Path, root: Store) -> None:
    """Images of 40 x 20 pixels; ids count images and boxes of all splits."""
    result = made(tmp_path, yolo(), root)
    m = result.manifest
    assert (m.classes, m.category_ids, m.sizes, result.rejects) == (["ape", "bear"], [0, 1], {"train": 3, "val": 2}, [])
    assert m.boxes == {"train": {"ape": 2, "bear": 2}, "val": {"ape": 1, "bear": 1}}
    dataset = local(result, tmp_path)
    train, val = (open_boxes(dataset, split).truth for split in ("train", "val"))
    assert (train.image_ids.tolist(), val.image_ids.tolist()) == ([1, 2, 3], [4, 5])
    assert train.paths == ("images/train/train_0.jpg", "images/train/train_1.jpg", "images/train/train_2.jpg")
    assert train.images.tolist() == [0, 0, 1, 1]
    assert val.annotation_ids.tolist() == [5, 6]
    assert val.boxes.tolist() == [[15, 5, 10, 10], [0, 0, 10, 10]]
    assert val.areas.tolist() == [100, 100]
    assert val.image_sizes.tolist() == [[20, 40]] * 2
    assert not val.crowd.any()


@pytest.mark.parametrize(
    "described",
    [
        "train: images/train\nval: images/val\nnames: [ape, bear]",
        "path: /home/me/zoo\ntrain: /home/me/zoo/images/train\nvalid: [images/val]\nnames: [ape, bear]",
        "train: ../zoo/images/train/\nval: ./images/val\nnc: 2\nnames:\n  - ape\n  - bear",
        "train: train.txt\nval: lists/val.txt\nnames: {0: ape, 1: bear}",
    ],
)
def test_other_ways_to_describe_it(tmp_path: Path, root: Store, described: str) -> None:
    files = yolo(data_yaml=described)
    if ".txt" in described:
        files["train.txt"] = b"".join(b"./images/train/train_%d.jpg\n" % number for number in range(3))
        files["lists/val.txt"] = b"/data/zoo/images/val/val_0.jpg\n\nimages/val/val_1.jpg"
    result = made(tmp_path, files, root)
    other = run(write_files(tmp_path / "usual", yolo()), root)
    assert result.rejects == []
    without = ("manifest.json",)
    assert contents(result.store, without) == contents(other.store, without)


def test_roboflows_folders(tmp_path: Path, root: Store) -> None:
    """train/images train/labels instead of images/train labels/train."""
    described = "train: ../train/images\nval: ../val/images\nnames: [ape, bear]"
    files = {"data.yaml": described.encode()}
    for path, data in yolo().items():
        if path != "data.yaml":
            kind, split, name = path.split("/")
            files[f"{split}/{kind}/{name}"] = data
    result = made(tmp_path, files, root)
    assert (result.rejects, result.manifest.boxes["train"]) == ([], {"ape": 2, "bear": 2})


def test_one_folder_for_both_splits(tmp_path: Path, root: Store) -> None:
    result = made(tmp_path, yolo(data_yaml="train: images/train\nval: images/train\nnames: [ape, bear]"), root)
    assert result.manifest.sizes == {"train": 3, "val": 3}
    assert "a leak: 3 images of val are in train too" in result.notes[0]
    both = open_boxes(local(result, tmp_path), "all")
    assert both.truth.image_ids.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_polygon_is_its_bounding_box(tmp_path: Path, root: Store) -> None:
    files = yolo() | {"labels/val/val_0.txt": b"1 0.5 0.25 0.75 0.5 0.5 1 0.25 0.5"}
    truth = open_boxes(local(made(tmp_path, files, root), tmp_path), "val").truth
    assert truth.boxes.tolist() == [[10, 5, 20, 15]]


def test_boxes_that_reach_out_are_cut_and_empty_ones_left_out(tmp_path: Path, root: Store) -> None:
    files = yolo() | {"labels/val/val_0.txt": b"0 0.9 0.5 0.4 1.0\n1 0.5 0.5 0 0.5\n1 0.5 0.5 0.1 0.1"}
    result = made(tmp_path, files, root)
    assert (result.manifest.clipped, result.manifest.empty) == (1, 1)
    truth = open_boxes(local(result, tmp_path), "val").truth
    np.testing.assert_allclose(truth.boxes, [[28, 0, 12, 20], [18, 9, 4, 2]])
    np.testing.assert_allclose(truth.areas, [240, 8])


def test_what_is_not_used_is_told(tmp_path: Path, root: Store) -> None:
    turned = Image.Exif()
    turned[274] = 6
    buffer = io.BytesIO()
    picture(5, 40, 20).save(buffer, "JPEG", exif=turned)
    files = yolo() | {"labels/val/stray.txt": b"0 0 0 1 1", "images/more/x.jpg": jpeg(3), "images/val/read.me": b"x"}
    files["images/val/val_0.jpg"] = buffer.getvalue()
    reasons = told(made(tmp_path, files, root))
    assert reasons.pop("images/val/val_0.jpg").startswith("turned: ")
    assert reasons == {
        "labels/val/stray.txt": "a label without an image",
        "images/more/x.jpg": "not an image of a split that data.yaml names",
        "images/val/read.me": "not an image of a split that data.yaml names",
    }


def test_a_label_changes_the_version(tmp_path: Path, root: Store) -> None:
    first = made(tmp_path, yolo(), root)
    second = run(write_files(tmp_path / "b", yolo() | {"labels/val/val_0.txt": b"0 .5 .5 .25 .5"}), root)
    assert second.manifest.version != first.manifest.version
    assert json.loads(second.store.read("annotations-val.json"))["annotations"][0]["bbox"] == [15, 5, 10, 10]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 .5 .5 .5 .5", "the class 2 is none of data.yaml's names, 0 to 1"),
        ("0.5 .5 .5 .5 .5", "the class 0.5 is none"),
        ("-1 .5 .5 .5 .5", "the class -1 is none"),
        ("nan .5 .5 .5 .5", "the class nan is none"),
        ("ape .5 .5 .5 .5", "is not only numbers"),
        ("0 .5 .5 .5", "has 4 numbers; expected: class cx cy width height"),
        ("0 .5 .5 .5 .5 .9", "has 6 numbers"),
        ("0 .5 .5 -.005 .5", "a negative width or height"),
        ("0 .5 nan .5 .5", "out of range"),
        ("0 120 80 30 30", "out of range; expected: class cx cy width height, the last four from 0 to 1"),
    ],
)
def test_lines_that_are_wrong(tmp_path: Path, root: Store, line: str, message: str) -> None:
    files = yolo() | {"labels/val/val_0.txt": f"0 .5 .5 .5 .5\n{line}\n".encode()}
    with pytest.raises(UserError) as error:
        made(tmp_path, files, root)
    assert message in str(error.value)
    assert f"{tmp_path}/raw/labels/val/val_0.txt, line 2: " in str(error.value)
    assert root.entries() == []


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("names: [ape", "data.yaml: is not valid YAML"),
        ("- ape", "expected names: a list of class names"),
        ("train: images/train", "expected names"),
        ("names: {1: ape, 2: bear}", "a mapping from 0, 1, 2"),
        ("names: [ape, bear]", "has none of train, val and test"),
        ("names: [ape, bear]\nval: images/vall", "data.yaml names images/vall, and there is no such folder"),
        ("names: [ape, bear]\nval: 7", "val: expected a folder, a text file, or a list of such"),
        ("names: [ape, ape]\nval: images/val", "two categories have the same name"),
        ("names: [ape, bear]\ntrain: images/train", "a val or test split is needed"),
    ],
)
def test_descriptions_that_are_wrong(tmp_path: Path, root: Store, described: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        made(tmp_path, yolo(data_yaml=described), root)
    assert message in str(error.value)
    assert root.entries() == []


def test_labels_that_lie_elsewhere(tmp_path: Path, root: Store) -> None:
    files = {name.replace("labels/val", "Labels/val"): data for name, data in yolo().items()}
    with pytest.raises(
        UserError, match=r"none of the 2 images of the split val has a label file; looked for labels/val/val_0\.txt"
    ):
        made(tmp_path, files, root)
    assert not root.entries()


def test_labels_without_a_description(tmp_path: Path, root: Store) -> None:
    files = yolo()
    del files["data.yaml"]
    with pytest.raises(UserError, match="there are labels/, but no data"):
        made(tmp_path, files, root)


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_a_line_means_the_box_about_its_centre(values: tuple[float, float, float, float]) -> None:
    number, x, y, width, height = _box(["1", *map(repr, values)], 2, "here")
    assert number == 1
    assert (width, height) == values[2:]
    assert (x + width / 2, y + height / 2) == pytest.approx(values[:2], abs=1e-12)
