"""A packed detection dataset, opened: its files, its boxes, all splits at once; and the cache's guarantees for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from coco_files import SIZES, coco, instances, local, made, picture_of
from hypothesis import given
from hypothesis import strategies as st
from import_helpers import picture
from PIL import Image

from visionjobs.boxes import Truth
from visionjobs.coco_json import read_annotations, write_annotations
from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.coco_check import SLACK, check_boxes, counted
from visionjobs.data.coco_dataset import decode_rgb, open_boxes
from visionjobs.data.importing import ImportResult
from visionjobs.errors import FinalError, UserError
from visionjobs.storage import open_store


def with_ids(split: str, start: int) -> dict[str, object]:
    """A split's annotations with other image ids, in the opposite order of the file names."""
    found = instances(split)
    new = {image["id"]: start + 50 - number for number, image in enumerate(found["images"])}
    for image in found["images"]:
        image["id"] = new[image["id"]]
    for box in found["annotations"]:
        box["image_id"] = new[box["image_id"]]
    return found


@pytest.fixture
def result(tmp_path: Path) -> ImportResult:
    return made(tmp_path, coco(), open_store(str(tmp_path / "storage")), shard_bytes=3000)


@pytest.fixture
def dataset(result: ImportResult, tmp_path: Path) -> LocalDataset:
    return local(result, tmp_path)


def test_a_split(dataset: LocalDataset) -> None:
    for split, images in SIZES.items():
        opened = open_boxes(dataset, split)
        assert (opened.name, len(opened)) == (split, images)
        assert [opened.encoded(n) for n in range(images)] == [picture_of(split, n) for n in range(images)]


def test_images_ascend_by_id_whatever_their_names(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "storage"))
    opened = open_boxes(local(made(tmp_path, coco(val=with_ids("val", 500)), root), tmp_path), "val")
    assert opened.truth.image_ids.tolist() == [548, 549, 550]
    assert opened.truth.paths == ("01020.jpg", "01010.jpg", "01000.jpg")
    assert [opened.encoded(place) for place in range(3)] == [picture_of("val", 2 - place) for place in range(3)]
    assert opened.truth.images.tolist() == [2, 2, 2, 1, 1]


def test_all_splits(dataset: LocalDataset) -> None:
    """val's ids follow train's: nothing is numbered anew."""
    both = open_boxes(dataset, "all")
    train, val = (open_boxes(dataset, split) for split in SIZES)
    assert both.truth.image_ids.tolist() == [*train.truth.image_ids.tolist(), *val.truth.image_ids.tolist()]
    assert both.truth.annotation_ids.tolist() == [*train.truth.annotation_ids, *val.truth.annotation_ids]
    assert both.truth.paths[0] == "train2017/00000.jpg"
    assert [both.encoded(n) for n in range(7)] == [part.encoded(n) for part in (train, val) for n in range(len(part))]
    np.testing.assert_array_equal(both.truth.images[len(train.truth) :], val.truth.images + 4)


def test_all_splits_whose_ids_are_mixed(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "storage"))
    dataset = local(made(tmp_path, coco(val=with_ids("val", -25)), root), tmp_path)  # 23, 24, 25 between 0, 10, 20, 30
    both = open_boxes(dataset, "all")
    assert both.truth.image_ids.tolist() == [0, 10, 20, 23, 24, 25, 30]
    assert both.encoded(3) == picture_of("val", 2)
    assert both.encoded(6) == picture_of("train", 3)
    boxed = {both.truth.paths[image] for image in both.truth.images.tolist()}
    assert "val2017/01020.jpg" not in boxed
    assert len(boxed) == 5


def test_all_splits_with_the_same_ids_are_numbered_anew(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "storage"))
    same = instances("val")
    for image in same["images"]:
        image["id"] -= 1000
    for box in same["annotations"]:
        box["image_id"] -= 1000
        box["id"] -= 100_000
    both = open_boxes(local(made(tmp_path, coco(val=same), root), tmp_path), "all")
    assert both.truth.image_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert both.truth.annotation_ids.tolist() == list(range(1, 13))
    assert both.encoded(4) == picture_of("val", 0)


def test_a_split_that_is_not_there(dataset: LocalDataset) -> None:
    with pytest.raises(KeyError, match="zoo has the splits train, val, not test"):
        open_boxes(dataset, "test")


def test_a_dataset_without_boxes(dataset: LocalDataset) -> None:
    other = LocalDataset(dataset.manifest.model_copy(update={"annotations": []}), dataset.folder)
    with pytest.raises(UserError, match="the dataset zoo has no boxes: it is one for classification"):
        open_boxes(other, "val")


def test_changed_annotations_are_found(result: ImportResult, tmp_path: Path) -> None:
    path = Path(result.store.address) / "annotations-val.json"
    path.write_bytes(path.read_bytes().replace(b"50.5", b"50.6"))
    with pytest.raises(FinalError, match=r"annotations-val.json is damaged"):
        fetch(DatasetRef(result.store, result.manifest), tmp_path / "cache")


def test_stored_pixels_whatever_exif_says() -> None:
    turned = Image.Exif()
    turned[274] = 6
    buffer = io.BytesIO()
    picture(3).save(buffer, "PNG", exif=turned)
    pixels = decode_rgb(buffer.getvalue(), "x.png")
    np.testing.assert_array_equal(pixels, np.asarray(picture(3)))
    assert pixels.flags.writeable


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_image_is_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    picture(3).convert(mode).save(buffer, "TIFF")
    pixels = decode_rgb(buffer.getvalue(), "x")
    assert (pixels.shape, pixels.dtype) == ((30, 40, 3), np.uint8)


@pytest.mark.parametrize("data", [b"", b"text", picture_of("val", 0)[:500]])
def test_an_image_that_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^a/b.jpg: cannot be decoded: "):
        decode_rgb(data, "a/b.jpg")


def truth_of(boxes: list[tuple[float, float, float, float]], images: int = 1) -> Truth:
    n = len(boxes)
    return Truth(
        image_ids=np.arange(images), paths=tuple(map(str, range(images))), image_sizes=np.zeros((images, 2), np.int64),
        category_ids=np.array([3, 9]), classes=("a", "b"), annotation_ids=np.arange(n), images=np.arange(n) % images,
        categories=np.arange(n) % 2, boxes=np.array(boxes, np.float64).reshape(-1, 4), areas=np.ones(n),
        crowd=np.arange(n) % 5 == 4,
    )  # fmt: skip


coordinate = st.floats(-500, 500) | st.integers(-60, 60).map(float)
side = st.floats(0, 500) | st.integers(0, 60).map(float)


@given(st.lists(st.tuples(coordinate, coordinate, side, side), max_size=20), st.integers(1, 60), st.integers(1, 60))
def test_checked_boxes_lie_inside(boxes: list[tuple[float, float, float, float]], height: int, width: int) -> None:
    checked = check_boxes(truth_of(boxes), np.array([[height, width]]), np.array([True]))
    found = checked.truth.boxes
    assert len(found) + checked.empty == len(boxes)
    assert (found[:, 2:] > 0).all()
    assert (found[:, :2] >= -SLACK).all()
    assert (found[:, :2] + found[:, 2:] <= np.array([width, height]) + SLACK + 1e-9).all()
    unchanged = [tuple(box) in boxes for box in found.tolist()]
    assert len(found) - sum(unchanged) <= checked.clipped
    for box, number in zip(found, checked.truth.annotation_ids.tolist(), strict=True):
        x, y, w, h = boxes[number]
        np.testing.assert_allclose(box[:2], np.clip([x, y], 0, [width, height]), atol=SLACK)
        np.testing.assert_allclose(box[:2] + box[2:], np.clip([x + w, y + h], 0, [width, height]), atol=SLACK + 1e-9)


def test_the_area_of_a_cut_box_is_that_of_what_is_left_unless_it_is_a_segment_s() -> None:
    truth = truth_of([(-100, 0, 110, 10)] * 2)
    truth.areas[:] = 1100, 37
    checked = check_boxes(truth, np.array([[50, 50]]), np.array([True])).truth
    assert checked.boxes.tolist() == [[0, 0, 10, 10]] * 2
    assert checked.areas.tolist() == [100, 37]


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_only_the_boxes_of_kept_images_stay(kept: list[bool]) -> None:
    truth = truth_of([(1, 1, 5, 5)] * 11, len(kept))
    checked = check_boxes(truth, np.full((len(kept), 2), 20), np.array(kept)).truth
    assert checked.image_ids.tolist() == [number for number, keep in enumerate(kept) if keep]
    boxes = {number: int(checked.image_ids[image]) for number, image in
             zip(checked.annotation_ids.tolist(), checked.images.tolist(), strict=True)}  # fmt: skip
    assert boxes == {number: number % len(kept) for number in range(11) if kept[number % len(kept)]}


def test_written_annotations_are_read_alike() -> None:
    truth = check_boxes(truth_of([(0.1, 0.2, 3.3, 1 / 3)] * 7, 3), np.full((3, 2), 9), np.ones(3, np.bool_)).truth
    again = read_annotations(write_annotations(truth), "x")
    for name in Truth.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(truth, name))


def test_counts_pass_crowd_regions_over() -> None:
    """Boxes 0..9 of the classes a b a b ..., 4 and 9 are crowd; images 0 1 2 0 1 2 ..."""
    images, boxes = counted(truth_of([(0, 0, 1, 1)] * 10, 3))
    assert boxes == {"a": 4, "b": 4}
    assert images == {"a": 2, "b": 3}
    assert counted(truth_of([], 3)) == ({"a": 0, "b": 0}, {"a": 0, "b": 0})
