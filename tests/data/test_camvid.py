"""The import of raw CamVid data: what it packs, rejects, repeats and leaves behind."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from camvid_files import (
    CLASSES,
    HEIGHT,
    SIZE,
    TABLE,
    WIDTH,
    flat,
    frames,
    image,
    index_of,
    label,
    made,
    mask,
    nearest,
    png,
    run,
    told,
    usual,
)
from import_helpers import contents, picture, write_files
from PIL import Image
from test_source import as_tar, as_zip

from visionjobs.data.cache import fetch
from visionjobs.data.camvid import OFF_PALETTE, import_camvid
from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.catalog import DatasetRef
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store

VOID = CLASSES.index("Void")


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def test_what_a_whole_import_leaves(tmp_path: Path, root: Store) -> None:
    result = made(tmp_path, usual(), root)
    m = result.manifest
    assert (result.new, m.layout, m.name, m.task, m.size) == (True, "camvid", "roads", "segmentation", [12, 16])
    assert (m.classes, m.colours) == (CLASSES, [list(colour) for colour in CAMVID.values()])
    assert m.sizes == m.split_sizes == {"train": 4, "val": 2, "test": 2}
    assert (m.measured_split, m.rejected, m.off_palette, result.notes) == ("test", 0, 0, ())
    for shards, name in ((m.shards, "images"), (m.masks, "masks")):
        assert [(shard.file, shard.rows) for shard in shards] == [
            (f"{name}-{i:05d}.npy", n) for i, n in enumerate((3, 3, 2))
        ]
    assert not result.store.exists(OFF_PALETTE)
    rows = index_of(result)
    assert [row["path"] for row in rows] == sorted(path for path in usual() if "_labels/" not in path and "/" in path)
    assert {(row["label"], row["width"], row["height"]) for row in rows} == {(-1, WIDTH, HEIGHT)}
    assert m.parameters["size"] == [12, 16]


def test_pixels_and_masks_are_those_of_pillow(tmp_path: Path, root: Store) -> None:
    result = made(tmp_path, usual(), root)
    dataset = fetch(DatasetRef(result.store, result.manifest), tmp_path / "cache")
    for split, listed in frames().items():
        found = dataset.split(split)
        assert found.paths == [f"{split}/{stem}.png" for stem, _ in listed]
        for place, (_, seed) in enumerate(listed):
            expected = picture(seed, WIDTH, HEIGHT).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(found.read(np.array([place]))[0], np.asarray(expected))
            np.testing.assert_array_equal(found.read_masks(np.array([place]))[0], nearest(mask(seed)))


def test_counts_are_those_of_the_packed_masks(tmp_path: Path, root: Store) -> None:
    m = made(tmp_path, usual(), root).manifest
    for split, listed in frames().items():
        masks = [nearest(mask(seed)) for _, seed in listed]
        for number, name in enumerate(CLASSES):
            assert m.pixels[split][name] == sum(int((one == number).sum()) for one in masks)
            assert m.counts[split][name] == sum(bool((one == number).any()) for one in masks)


@pytest.mark.parametrize("ending", ["_L", ""])
@pytest.mark.parametrize("listed", ["{}", "{}.png", "images/{}.png", "/data/CamVid/train/{}.jpg ", "a\\{}"])
def test_the_flat_layout_packs_the_same(tmp_path: Path, root: Store, ending: str, listed: str) -> None:
    result = made(tmp_path, flat(ending, listed), root)
    other = run(write_files(tmp_path / "usual", usual()), root)
    assert (result.rejects, result.manifest.sizes) == ([], {"train": 4, "val": 2, "test": 2})
    for key in ("classes", "counts", "pixels", "colours"):
        assert getattr(result.manifest, key) == getattr(other.manifest, key)


def test_without_test_the_run_is_measured_on_val(tmp_path: Path, root: Store) -> None:
    for files in (usual(test=0), flat(test=0)):
        m = run(write_files(tmp_path / str(len(files)), files), root).manifest
        assert (list(m.counts), m.measured_split) == (["train", "val"], "val")


@pytest.mark.parametrize("dropped", ["class_dict.csv", "order"])
def test_camvids_own_classes_without_and_with_a_reordered_class_dict(tmp_path: Path, root: Store, dropped: str) -> None:
    files = usual()
    expected = run(write_files(tmp_path / "all", files), root)
    lines = files.pop("class_dict.csv").decode().splitlines()
    if dropped == "order":
        files["class_dict.csv"] = "\ufeff".encode() + "\r\n".join(reversed(lines[1:])).encode()
    result = run(write_files(tmp_path / "raw", files), root)
    assert (result.notes, result.manifest.classes) == ((), CLASSES)
    assert [shard.sha256 for shard in result.manifest.masks] == [shard.sha256 for shard in expected.manifest.masks]


def test_other_classes_are_those_of_the_file(tmp_path: Path, root: Store) -> None:
    files = usual() | {"class_dict.csv": b"void,0,0,0\nRoad, 128,64,128\n Sky,128,128 , 128\n"}
    result = made(tmp_path, files, root)
    m = result.manifest
    assert (m.classes, m.colours) == (["void", "Road", "Sky"], [[0, 0, 0], [128, 64, 128], [128, 128, 128]])
    assert "other classes than CamVid's own" in result.notes[0]
    kept = {CLASSES.index(name): number for name, number in (("Void", 0), ("Road", 1), ("Sky", 2))}
    masks = [nearest(mask(seed)) for _, seed in frames()["train"]]
    assert m.pixels["train"]["Road"] == sum(int((one == CLASSES.index("Road")).sum()) for one in masks)
    assert m.pixels["train"]["void"] == sum(int((~np.isin(one, list(kept)[1:])).sum()) for one in masks)
    assert m.off_palette == sum(int((~np.isin(mask(seed), list(kept))).sum()) for seed in range(1, 9))
    assert run(tmp_path / "raw", root).notes == result.notes


def strays(seed: int, *colours: tuple[int, int, int]) -> bytes:
    """A label whose first row begins with these colours."""
    painted = TABLE.paint(mask(seed)).copy()
    painted[0, : len(colours)] = colours
    return png(painted)


def test_off_palette_pixels_become_void_and_are_told_by_file(tmp_path: Path, root: Store) -> None:
    files = usual()
    files["train_labels/f002_L.png"] = strays(2, (1, 2, 3), (1, 2, 3), (255, 255, 255))
    files["test_labels/f007_L.png"] = strays(7, (0, 0, 1))
    result = made(tmp_path, files, root, size=(HEIGHT, WIDTH))
    assert (result.manifest.off_palette, result.rejects) == (4, [])
    assert list(csv.reader(io.StringIO(result.store.read(OFF_PALETTE).decode()))) == [
        ["path", "pixels", "colours"],
        ["test_labels/f007_L.png", "1", "#000001:1"],
        ["train_labels/f002_L.png", "3", "#010203:2 #ffffff:1"],
    ]
    assert [label.pixels for label in result.off_palette] == [1, 3]
    masks = (
        fetch(DatasetRef(result.store, result.manifest), tmp_path / "cache").split("train").read_masks(np.array([1]))
    )
    expected = mask(2).copy()
    expected[0, :3] = VOID
    np.testing.assert_array_equal(masks[0], expected)


def test_without_void_a_stray_colour_makes_a_label_unusable(tmp_path: Path, root: Store) -> None:
    rows = "\n".join(f"{name},{r},{g},{b}" for name, (r, g, b) in CAMVID.items() if name != "Void")
    files = {path: data for path, data in usual().items() if "label" not in path} | {"class_dict.csv": rows.encode()}
    for split, listed in frames().items():
        for stem, seed in listed:
            files[f"{split}_labels/{stem}_L.png"] = png(TABLE.paint(mask(seed, classes=30)))
    painted = TABLE.paint(mask(1, classes=30)).copy()
    painted[0, :2] = 9, 8, 7
    result = made(tmp_path, files | {"train_labels/f001_L.png": png(painted)}, root)
    assert told(result) == {
        "train_labels/f001_L.png": "off-palette: 2 pixels of colours that are no class's, such as #090807, and there "
        "is no class Void to take them"
    }
    assert (result.manifest.sizes["train"], result.manifest.off_palette) == (3, 0)


def test_the_same_import_twice_does_no_work_twice(tmp_path: Path, root: Store) -> None:
    files = usual() | {"train_labels/f001_L.png": strays(1, (1, 2, 3))}
    first = made(tmp_path, files, root)
    before = root.entries()
    stages: Counter[str] = Counter()
    second = run(tmp_path / "raw", root, on_progress=lambda stage, _done, _total: stages.update([stage]))
    assert (second.new, second.manifest, second.off_palette) == (False, first.manifest, [])
    assert stages == {"Checking": 17}
    assert root.entries() == before  # sizes and times too


@pytest.mark.parametrize("change", ["size", "rows", "image", "label", "class_dict", "split", "removed"])
def test_anything_that_matters_changes_the_version(tmp_path: Path, root: Store, change: str) -> None:
    files = usual()
    first = made(tmp_path, files, root)
    options = {"size": {"size": (16, 12)}, "rows": {"rows": 4}}
    match change:
        case "image":
            files["train/f001.png"] = image(99)
        case "label":
            files["train_labels/f001_L.png"] = label(99)
        case "class_dict":
            files["class_dict.csv"] = files["class_dict.csv"].replace(b"Wall", b"Mauer")
        case "split":
            for path in ("train/f001.png", "train_labels/f001_L.png"):
                files[path.replace("train", "val")] = files.pop(path)
        case "removed":
            del files["test/f007.png"], files["test_labels/f007_L.png"]
    second = run(write_files(tmp_path / "other", files), root, **options.get(change, {}))
    assert second.new
    assert second.manifest.version != first.manifest.version


@pytest.mark.parametrize("layout", ["usual", "flat"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_gives_the_same_dataset_as_its_folder(tmp_path: Path, root: Store, layout: str, kind: str) -> None:
    files = (usual if layout == "usual" else flat)()
    folder = made(tmp_path, files, root, threads=1)
    make = as_zip if kind == "zip" else as_tar
    packed = make(tmp_path / f"raw.{kind}", {f"CamVid/{path}": data for path, data in files.items()})
    archive = run(packed, open_store(str(tmp_path / "b")), threads=7)
    assert archive.manifest.version == folder.manifest.version
    assert contents(archive.store) == contents(folder.store)


@pytest.mark.parametrize("stage", ["Checking", "Packing"])
@pytest.mark.parametrize("at", [1, 5, 8])
def test_ctrl_c_leaves_no_dataset_and_the_next_import_is_whole(
    tmp_path: Path, root: Store, stage: str, at: int
) -> None:
    source = write_files(tmp_path / "raw", usual() | {"train_labels/f001_L.png": strays(1, (1, 2, 3))})

    def interrupt(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(source, root, on_progress=interrupt)
    assert root.entries() == []
    whole = run(source, open_store(str(tmp_path / "other")))
    assert contents(run(source, root).store) == contents(whole.store)


def test_an_error_at_the_very_end_leaves_nothing(tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the index is written, after off_palette.csv and the shards."""

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("visionjobs.data.camvid.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, usual() | {"train_labels/f001_L.png": strays(1, (1, 2, 3))}, root)
    assert root.entries() == []


@pytest.mark.parametrize("path", ["train/f002.png", "val_labels/f006_L.png"])
def test_a_file_changed_during_the_import_is_refused(tmp_path: Path, root: Store, path: str) -> None:
    source = write_files(tmp_path / "raw", usual())

    def meddle(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("Checking", total):
            (source / path).write_bytes(image(99))

    with pytest.raises(UserError, match=f"{path} changed while"):
        run(source, root, on_progress=meddle)
    assert root.entries() == []


def label_counts(folder: Path, split: str) -> Counter[str]:
    """Pixels of each class in the label files, counted colour by colour."""
    names = {colour: name for name, colour in CAMVID.items()}
    counted: Counter[str] = Counter()
    for path in (folder / f"{split}_labels").iterdir():
        with Image.open(path) as file:
            for number, colour in file.convert("RGB").getcolors(maxcolors=1000):
                counted[names[colour]] += number
    return counted


def test_camvid32(test_data: Path, root: Store) -> None:
    folder = test_data / "camvid32"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    m = import_camvid(str(folder), "camvid", root).manifest
    assert (m.images, m.sizes, m.size) == (101, {"train": 61, "val": 16, "test": 24}, [360, 480])
    assert (m.off_palette, m.classes) == (0, CLASSES)
    assert sum(any(counts[name] for counts in m.counts.values()) for name in CLASSES) == 23
    assert [shard.rows for shard in m.shards] == [shard.rows for shard in m.masks] == [77, 24]
    for split in ("train", "val", "test"):
        assert {name: n for name, n in m.pixels[split].items() if n} == label_counts(folder, split)


def test_camvid12(test_data: Path, root: Store) -> None:
    folder = test_data / "camvid12_recoloured"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    m = import_camvid(str(folder), "camvid12", root, size=(180, 240)).manifest
    assert (m.images, m.sizes, m.off_palette) == (701, {"train": 369, "val": 100, "test": 232}, 0)
    assert sum(any(counts[name] for counts in m.counts.values()) for name in CLASSES) == 12
    assert sum(m.pixels["test"].values()) == 232 * 180 * 240
