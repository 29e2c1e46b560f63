"""A packed dataset written as YOLO's layout: what ultralytics reads of it, once, complete or absent."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from coco_files import CATEGORIES, coco, instances, local, made, only, picture_of, run
from import_helpers import picture
from PIL import Image

from visionjobs.data.cache import LocalDataset
from visionjobs.data.coco_dataset import BoxSplit, decode_rgb, open_boxes
from visionjobs.data.yolo_layout import write_yolo
from visionjobs.errors import StorageError
from visionjobs.storage import open_store


@pytest.fixture
def dataset(tmp_path: Path) -> LocalDataset:
    return local(made(tmp_path, coco(), open_store(str(tmp_path / "storage"))), tmp_path)


def test_what_is_written(dataset: LocalDataset, tmp_path: Path) -> None:
    described = write_yolo(dataset, tmp_path / "yolo")
    folder = described.parent
    assert folder == tmp_path / "yolo" / f"zoo-{dataset.manifest.version}"
    assert yaml.safe_load(described.read_text()) == {
        "path": str(folder), "train": "images/train", "val": "images/val",
        "names": dict(enumerate(CATEGORIES.values())),
    }  # fmt: skip
    assert sorted(path.name for path in (folder / "images" / "val").iterdir()) == [
        "000000001000.jpg", "000000001010.jpg", "000000001020.jpg",
    ]  # fmt: skip
    assert (folder / "images/val/000000001010.jpg").read_bytes() == picture_of("val", 1)
    assert (folder / "labels/val/000000001020.txt").read_text() == ""
    rows = [line.split() for line in (folder / "labels/val/000000001000.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == ["0", "2"], "the crowd region is left out"
    np.testing.assert_allclose(
        np.array(rows, np.float64)[:, 1:],
        [[7.625 / 40, 7 / 30, 10.25 / 40, 8 / 30], [2.5 / 40, 3 / 30, 5 / 40, 6 / 30]], atol=1e-8,
    )  # fmt: skip


def test_it_comes_back_through_the_import(dataset: LocalDataset, tmp_path: Path) -> None:
    """Ids apart, which are not part of the layout."""
    folder = write_yolo(dataset, tmp_path / "yolo").parent
    again = local(run(folder, open_store(str(tmp_path / "other"))), tmp_path / "again")
    for split in ("train", "val"):
        was, now = open_boxes(dataset, split).truth, open_boxes(again, split).truth
        objects = was.where(~was.crowd)
        np.testing.assert_array_equal(now.images, objects.images)
        np.testing.assert_array_equal(now.categories, objects.categories)
        np.testing.assert_allclose(now.boxes, objects.boxes, atol=1e-6)
        assert open_boxes(again, split).encoded(0) == open_boxes(dataset, split).encoded(0)


def test_ultralytics_reads_the_same_boxes(
    dataset: LocalDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    described = check_det_dataset(str(write_yolo(dataset, tmp_path / "yolo")), autodownload=False)
    assert described["names"] == dict(enumerate(CATEGORIES.values()))
    truth = open_boxes(dataset, "val").truth
    objects = truth.where(~truth.crowd)
    labels = YOLODataset(img_path=described["val"], data=described, task="detect", augment=False).labels
    assert [Path(label["im_file"]).stem for label in labels] == [f"{number:012d}" for number in truth.image_ids]
    assert [label["shape"] for label in labels] == [tuple(size) for size in truth.image_sizes.tolist()]
    found = np.concatenate([label["bboxes"] for label in labels])
    height, width = truth.image_sizes[objects.images].T
    centres = (objects.boxes[:, :2] + objects.boxes[:, 2:] / 2) / np.stack([width, height], axis=1)
    np.testing.assert_allclose(found[:, :2], centres, atol=1e-6)
    assert np.concatenate([label["cls"] for label in labels])[:, 0].tolist() == objects.categories.tolist()


def test_names_with_folders_that_collide(tmp_path: Path) -> None:
    found = instances("val")
    files = only("val")
    for number, image in enumerate(found["images"]):
        data = files.pop(f"val2017/{image['file_name']}")
        image["file_name"] = f"part{number}/same.JPEG"
        files[f"val2017/part{number}/same.JPEG"] = data
    files |= {path: data for path, data in coco(val=found).items() if path.endswith("val2017.json")}
    dataset = local(made(tmp_path, files, open_store(str(tmp_path / "storage"))), tmp_path)
    folder = write_yolo(dataset, tmp_path / "yolo").parent
    assert sorted(path.name for path in folder.rglob("*.jpeg")) == [f"00000000{1000 + 10 * n}.jpeg" for n in range(3)]


def test_a_turned_image_and_a_rare_format_become_png(tmp_path: Path) -> None:
    """The pixels that the boxes lie in."""
    turned = Image.Exif()
    turned[274] = 6
    found, files = instances("val"), only("val")
    buffers = [io.BytesIO(), io.BytesIO()]
    picture(0, 40, 30).save(buffers[0], "JPEG", exif=turned)
    picture(1, 41, 29).save(buffers[1], "PPM")
    found["images"][1]["file_name"] = "01010.ppm"
    del files["val2017/01010.jpg"]
    files |= {"val2017/01000.jpg": buffers[0].getvalue(), "val2017/01010.ppm": buffers[1].getvalue()}
    files |= {path: data for path, data in coco(val=found).items() if path.endswith("val2017.json")}
    dataset = local(made(tmp_path, files, open_store(str(tmp_path / "storage"))), tmp_path)
    images = write_yolo(dataset, tmp_path / "yolo").parent / "images" / "val"
    assert sorted(path.suffix for path in images.iterdir()) == [".jpg", ".png", ".png"]
    opened = open_boxes(dataset, "val")
    for index, name in enumerate(("000000001000.png", "000000001010.png")):
        with Image.open(images / name) as image:
            assert image.getexif().get(274, 1) == 1
            np.testing.assert_array_equal(np.asarray(image), decode_rgb(opened.encoded(index), "x"))


def test_it_is_written_once(dataset: LocalDataset, tmp_path: Path) -> None:
    folder = write_yolo(dataset, tmp_path / "yolo").parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_yolo(dataset, tmp_path / "yolo").parent == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_several_at_once(dataset: LocalDataset, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(write_yolo(dataset, tmp_path / "yolo"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(list(found[0].parent.rglob("*.jpg"))) == 7


def test_what_was_interrupted_is_written_anew(
    dataset: LocalDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = BoxSplit.encoded

    def interrupted(self: BoxSplit, index: int) -> bytes:
        if (self.name, index) == ("val", 1):
            raise KeyboardInterrupt
        return encoded(self, index)

    monkeypatch.setattr(BoxSplit, "encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_yolo(dataset, tmp_path / "yolo")
    monkeypatch.undo()
    assert not (tmp_path / "yolo" / f"zoo-{dataset.manifest.version}").exists()
    folder = write_yolo(dataset, tmp_path / "yolo").parent
    assert len(list(folder.rglob("*.jpg"))) == 7
    assert not list((tmp_path / "yolo").glob("*.unfinished"))


def test_a_place_that_cannot_be_written(dataset: LocalDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=f"{tmp_path}/file.* must be writable"):
        write_yolo(dataset, tmp_path / "file" / "yolo")
