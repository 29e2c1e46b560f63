"""The import of a raw COCO dataset: what it packs, repeats and leaves behind."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from coco_files import (
    CATEGORIES,
    SIZES,
    coco,
    index_of,
    instances,
    local,
    made,
    only,
    picture_of,
    run,
    size_of,
    told,
)
from import_helpers import contents, jpeg, picture, write_files
from PIL import Image
from test_source import as_tar, as_zip

from visionjobs.coco_json import read_annotations
from visionjobs.data.coco import import_coco
from visionjobs.data.coco_dataset import open_boxes
from visionjobs.data.manifest import MANIFEST
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def test_what_a_whole_import_leaves(tmp_path: Path, root: Store) -> None:
    result = made(tmp_path, coco(), root)
    m = result.manifest
    assert (result.new, m.layout, m.name, m.task, m.size, m.rejected) == (True, "coco", "zoo", "detection", [], 0)
    assert (m.classes, m.category_ids) == (list(CATEGORIES.values()), list(CATEGORIES))
    assert (m.sizes, m.split_sizes, m.images, m.measured_split) == (SIZES, SIZES, 7, "val")
    assert m.counts == {"train": {"ape": 3, "bear": 0, "cat": 3}, "val": {"ape": 2, "bear": 0, "cat": 2}}
    assert m.boxes == m.counts
    assert (m.crowd, m.clipped, m.empty) == ({"train": 1, "val": 1}, 0, 0)
    assert [file.file for file in m.annotations] == ["annotations-train.json", "annotations-val.json"]
    assert m.bytes == sum(
        len(data) for data in contents(result.store, ("manifest.json", "index.parquet", "rejects.csv")).values()
    )


def test_the_files_are_packed_as_they_are(tmp_path: Path, root: Store) -> None:
    """In shards of two, none of them cut; the index tells where."""
    result = made(tmp_path, coco(), root, shard_bytes=2 * len(picture_of("train", 0)))
    dataset = local(result, tmp_path)
    assert [shard.rows for shard in result.manifest.shards] == [2, 2, 2, 1]
    rows = index_of(result)
    assert [row["path"] for row in rows] == sorted(path for path in coco() if path.endswith("jpg"))
    for row in rows:
        split, number = row["split"], row["image_id"] % 1000 // 10
        assert (row["width"], row["height"], row["label"]) == (*size_of(number), -1)
        file = dataset.shards[row["shard"]][row["offset"] : row["offset"] + row["bytes"]]
        assert (file.dtype, file.tobytes()) == (np.uint8, picture_of(split, number))
    for shard, array in zip(result.manifest.shards, dataset.shards, strict=True):
        assert sum(row["bytes"] for row in rows if f"{row['shard']:05d}" in shard.file) == array.size


def test_annotations_are_those_of_the_source(tmp_path: Path, root: Store) -> None:
    result = made(tmp_path, coco(), root)
    for split in SIZES:
        found = json.loads(result.store.read(f"annotations-{split}.json"))
        kept = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
        assert found["annotations"] == [{key: box[key] for key in kept} for box in instances(split)["annotations"]]
        named = ("id", "file_name", "height", "width")
        assert found["images"] == [{key: image[key] for key in named} for image in instances(split)["images"]]
        assert found["categories"] == [{"id": number, "name": name} for number, name in CATEGORIES.items()]


@pytest.mark.parametrize("folder", ["images/{}2017", "{}", "images/{}", "images"])
def test_other_places_of_the_images(tmp_path: Path, root: Store, folder: str) -> None:
    result = made(tmp_path, coco(folder), root)
    other = run(write_files(tmp_path / "usual", coco()), root)
    assert (result.rejects, result.notes) == ([], ())
    assert [file.sha256 for file in result.manifest.annotations] == [file.sha256 for file in other.manifest.annotations]
    assert result.manifest.shards[0].sha256 == other.manifest.shards[0].sha256


@pytest.mark.parametrize("name", ["val2017/{}", "images/val2017/{}", "C:\\data\\{}", "COCO/x/{}"])
def test_file_names_with_folders_before_them(tmp_path: Path, root: Store, name: str) -> None:
    found = instances("val")
    for image in found["images"]:
        image["file_name"] = name.format(image["file_name"])
    result = made(tmp_path, only("val", coco(val=found)), root)
    assert (result.rejects, result.manifest.sizes) == ([], {"val": 3})
    assert open_boxes(local(result, tmp_path), "val").truth.paths[0] == name.format("01000.jpg")


def test_images_in_folders_of_their_split(tmp_path: Path, root: Store) -> None:
    found = instances("val")
    files = only("val", coco(val=found))
    for number, image in enumerate(found["images"]):
        old = image["file_name"]
        image["file_name"] = f"part{number}/same.jpg"
        files[f"val2017/part{number}/same.jpg"] = files.pop(f"val2017/{old}")
    files["annotations/instances_val2017.json"] = json.dumps(found).encode()
    result = made(tmp_path, files, root)
    assert (result.rejects, result.manifest.images) == ([], 3)


def test_one_split_of_two_annotated_ones(tmp_path: Path, root: Store) -> None:
    """As after unpacking COCO's annotations beside val2017/ alone."""
    files = {path: data for path, data in coco().items() if not path.startswith("train2017")}
    files["annotations/captions_val2017.json"] = b"{}"
    result = made(tmp_path, files, root)
    assert (list(result.manifest.counts), result.rejects) == (["val"], [])
    assert "annotations/instances_train2017.json is not used: there is no folder train2017/" in result.notes[0]


def test_an_image_without_boxes_is_kept(tmp_path: Path, root: Store) -> None:
    truth = open_boxes(local(made(tmp_path, coco(), root), tmp_path), "val").truth
    assert truth.image_ids.tolist() == [1000, 1010, 1020]
    assert sorted(set(truth.images.tolist())) == [0, 1]


def test_an_annotation_file_with_no_box_at_all(tmp_path: Path, root: Store) -> None:
    m = made(tmp_path, only("val", coco(val=instances("val") | {"annotations": []})), root).manifest
    assert (m.sizes, m.boxes) == ({"val": 3}, {"val": {"ape": 0, "bear": 0, "cat": 0}})
    assert m.task == "detection"


def test_boxes_are_cut_and_empty_ones_left_out_and_both_counted(tmp_path: Path, root: Store) -> None:
    """Image 0 is 40 x 30 pixels."""
    found = instances("val")
    given = {
        1: ([-4, 2, 10, 5], [0, 2, 6, 5]),
        2: ([35, 25, 10, 10.5], [35, 25, 5, 5]),
        3: ([-1, -1, 100, 100], [0, 0, 40, 30]),
        4: ([39.995, 0, 0.012, 30], [39.995, 0, 0.012, 30]),  # within what rounding may add
        5: ([10, 10, 0, 5], None),
        6: ([10, 10, 5, 0], None),
        7: ([41, 3, 5, 5], None),
        8: ([3, -9, 5, 9], None),
    }
    found["annotations"] = [
        {"id": number, "image_id": 1000, "category_id": 3, "bbox": box, "area": 5, "iscrowd": 0}
        for number, (box, _) in given.items()
    ]
    result = made(tmp_path, only("val", coco(val=found)), root)
    m = result.manifest
    assert (m.clipped, m.empty, m.boxes["val"]["bear"], m.counts["val"]["bear"]) == (3, 4, 4, 1)
    truth = read_annotations(result.store.read("annotations-val.json"), "x")
    assert dict(zip(truth.annotation_ids.tolist(), truth.boxes.tolist(), strict=True)) == {
        number: cut for number, (_, cut) in given.items() if cut
    }
    assert truth.areas.tolist() == [5] * 4


def test_what_is_not_used_is_told(tmp_path: Path, root: Store) -> None:
    found = instances("val")
    sizes = found["images"][1]
    sizes["width"], sizes["height"] = sizes["height"], sizes["width"]
    found["images"].append({"id": 7, "file_name": "gone.jpg", "width": 3, "height": 3})
    found["annotations"].append({"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1]})
    files = coco(val=found) | {"val2017/extra.jpg": jpeg(77), "notes.txt": b"x", ".git/config": b"x"}
    files["train2017/00000.jpg"] = files["train2017/00000.jpg"][:400]
    files["train2017/00010.jpg"] = b""
    files["train2017/00030.jpg"] = b"no image"
    result = made(tmp_path, files, root)
    reasons = told(result)
    assert list(reasons) == sorted(reasons)
    assert reasons.pop("val2017/01010.jpg") == (
        "of another size than annotations/instances_val2017.json says: 41x29 pixels, not 29x41; its boxes (2) go with "
        "it"
    )
    assert reasons.pop("val2017/gone.jpg") == (
        "named in annotations/instances_val2017.json (image 7, boxes: 1), but there is no such file"
    )
    assert reasons.pop("val2017/extra.jpg") == "not named in annotations/instances_val2017.json"
    assert reasons.pop("notes.txt") == "not in the images folder of a split"
    assert reasons.pop("train2017/00000.jpg").startswith("truncated")
    assert reasons.pop("train2017/00010.jpg") == "empty file; its boxes (2) go with it"
    assert reasons.pop("train2017/00030.jpg").startswith("not an image")
    assert reasons == {}
    m = result.manifest
    assert (m.rejected, m.sizes) == (7, {"train": 1, "val": 2})
    truth = open_boxes(local(result, tmp_path), "val").truth
    assert (truth.image_ids.tolist(), truth.images.tolist()) == ([1000, 1020], [0, 0, 0])
    assert (m.boxes["train"], m.crowd) == ({"ape": 1, "bear": 0, "cat": 1}, {"train": 0, "val": 1})


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_in_stored_and_in_turned_pixels(tmp_path: Path, root: Store, orientation: int) -> None:
    """COCO's are in stored ones; where the annotations tell the size of the turned image, it cannot be used."""
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    picture(0, 40, 30).save(buffer, "JPEG", exif=exif)
    found = instances("val")
    files = only("val", coco(val=found)) | {"val2017/01000.jpg": buffer.getvalue()}
    assert made(tmp_path, files, root).rejects == []
    found["images"][0].update(width=30, height=40)
    files["annotations/instances_val2017.json"] = json.dumps(found).encode()
    reason = told(run(write_files(tmp_path / "turned", files), root))["val2017/01000.jpg"]
    assert reason.startswith(f"turned: it is to be shown turned or mirrored (EXIF orientation {orientation})")


def test_sizes_that_the_annotations_do_not_tell_are_those_of_the_images(tmp_path: Path, root: Store) -> None:
    found = instances("val")
    for image in found["images"]:
        del image["width"], image["height"]
    truth = open_boxes(local(made(tmp_path, only("val", coco(val=found)), root), tmp_path), "val").truth
    assert truth.image_sizes.tolist() == [list(size_of(number)[::-1]) for number in range(3)]


def test_a_leak_between_splits_is_told(tmp_path: Path, root: Store) -> None:
    """Of the same size as the training image; both are kept."""
    files = coco()
    files["val2017/01010.jpg"] = files["train2017/00010.jpg"]
    result = made(tmp_path, files, root)
    (note,) = result.notes
    assert "a leak: 1 images of val are in train too" in note
    assert (result.manifest.sizes, result.rejects) == (SIZES, [])
    assert run(tmp_path / "raw", root).notes == result.notes


def test_the_same_import_twice_does_no_work_twice(tmp_path: Path, root: Store) -> None:
    first = made(tmp_path, coco(), root)
    before = root.entries()
    stages: Counter[str] = Counter()
    second = run(tmp_path / "raw", root, on_progress=lambda stage, _done, _total: stages.update([stage]))
    assert (second.new, second.manifest) == (False, first.manifest)
    assert stages == {"Checking": 7}
    assert root.entries() == before


@pytest.mark.parametrize("change", ["image", "annotations", "removed", "shard_bytes"])
def test_anything_that_matters_changes_the_version(tmp_path: Path, root: Store, change: str) -> None:
    files = coco()
    first = made(tmp_path, files, root)
    match change:
        case "image":
            files["val2017/01000.jpg"] = jpeg(99, 40, 30)
        case "annotations":
            path = "annotations/instances_val2017.json"
            files[path] = files[path].replace(b"10.25", b"10.5")
        case "removed":
            del files["val2017/01000.jpg"]
    second = run(
        write_files(tmp_path / "other", files), root, **({"shard_bytes": 9} if change == "shard_bytes" else {})
    )
    assert second.new
    assert second.manifest.version != first.manifest.version


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_gives_the_same_dataset_as_its_folder(tmp_path: Path, root: Store, kind: str) -> None:
    folder = made(tmp_path, coco(), root, threads=1, shard_bytes=3000)
    make = as_zip if kind == "zip" else as_tar
    packed = make(tmp_path / f"raw.{kind}", {f"coco/{path}": data for path, data in coco().items()})
    archive = run(packed, open_store(str(tmp_path / "b")), threads=7, shard_bytes=3000)
    assert archive.manifest.version == folder.manifest.version
    assert contents(archive.store) == contents(folder.store)


@pytest.mark.parametrize(("stage", "at"), [("Checking", 3), ("Packing", 1), ("Packing", 7)])
def test_ctrl_c_leaves_no_dataset_and_the_next_import_is_whole(
    tmp_path: Path, root: Store, stage: str, at: int
) -> None:
    source = write_files(tmp_path / "raw", coco())

    def interrupt(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(source, root, on_progress=interrupt, shard_bytes=1)
    assert root.entries() == []
    whole = run(source, open_store(str(tmp_path / "other")), shard_bytes=1)
    assert contents(run(source, root, shard_bytes=1).store) == contents(whole.store)


def test_an_error_at_the_very_end_leaves_nothing(tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the index is written, after the shards and the annotations."""
    written = []

    def interrupt(store: Store, *_: object) -> str:
        written.extend(entry.key for entry in store.entries())
        raise KeyboardInterrupt

    monkeypatch.setattr("visionjobs.data.coco.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, coco(), root)
    assert {"annotations-val.json", "images-00000.npy", "rejects.csv"} <= set(written)
    assert root.entries() == []


def test_a_file_changed_during_the_import_is_refused(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", coco())

    def meddle(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("Checking", total):
            (source / "val2017/01000.jpg").write_bytes(jpeg(99))

    with pytest.raises(UserError, match=r"val2017/01000.jpg changed while"):
        run(source, root, on_progress=meddle)
    assert root.entries() == []


def test_the_genuine_images(test_data: Path, root: Store, tmp_path: Path) -> None:
    folder = test_data / "coco_val2017_genuine"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    result = import_coco(str(folder), "coco", root)
    m = result.manifest
    assert (m.sizes, sum(m.boxes["val"].values()), m.crowd) == ({"val": 158}, 1408, {"val": 16})
    assert (len(m.classes), m.category_ids[-1], m.clipped, m.empty) == (80, 90, 0, 0)
    assert set(told(result)) == {"SHA256SUMS", "SOURCES.md", "images.csv"}
    opened = open_boxes(local(result, tmp_path), "val")
    source = read_annotations((folder / "annotations" / "instances_val2017.json").read_bytes(), "x")
    for name in ("image_ids", "image_sizes", "annotation_ids", "images", "categories", "boxes", "areas", "crowd"):
        np.testing.assert_array_equal(getattr(opened.truth, name), getattr(source, name))
    for index, path in enumerate(source.paths):
        assert opened.encoded(index) == (folder / "val2017" / path).read_bytes()
    assert result.store.exists(MANIFEST)
