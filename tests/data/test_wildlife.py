"""The import of raw wildlife data: what it accepts, rejects, repeats and leaves behind."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from import_helpers import contents, jpeg, picture, raw_files, write_files
from PIL import Image
from test_source import as_tar, as_zip

from visionjobs.data.importing import ImportResult
from visionjobs.data.manifest import INDEX, REJECTS
from visionjobs.data.wildlife import import_wildlife
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store

SIZE = (12, 16)


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def run(source: Path, root: Store, **options: object) -> ImportResult:
    return import_wildlife(str(source), "zoo", root, **({"size": SIZE, "rows": 8} | options))  # type: ignore[arg-type]


def index_of(result: ImportResult) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(io.BytesIO(result.store.read(INDEX))).to_pylist()
    return rows


def test_what_a_whole_import_leaves(tmp_path: Path, root: Store) -> None:
    result = run(write_files(tmp_path / "raw", raw_files()), root)
    m = result.manifest
    assert (result.new, m.layout, m.name, m.classes, m.size) == (
        True,
        "wildlife",
        "zoo",
        ["ape", "bear", "cat"],
        [12, 16],
    )
    assert m.counts == {"train": {"ape": 8, "bear": 8, "cat": 8}, "val": {"ape": 2, "bear": 2, "cat": 2}}
    assert (m.rejected, result.rejects, m.source) == (0, [], str(tmp_path / "raw"))
    assert [shard.rows for shard in m.shards] == [8, 8, 8, 6]
    assert result.store.address == f"{root.address}/datasets/zoo/{m.version}"
    assert [row["path"] for row in index_of(result)] == sorted(raw_files())
    first = index_of(result)[0]
    assert (first["width"], first["height"], first["label"]) == (40, 30, 0)


def test_pixels_are_those_of_pillow(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files())
    result = run(source, root)
    shards = [np.load(io.BytesIO(result.store.read(shard.file))) for shard in result.manifest.shards]
    for row in index_of(result):
        with Image.open(source / str(row["path"])) as image:
            expected = np.asarray(image.resize((16, 12), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(shards[row["shard"]][row["row"]], expected)  # type: ignore[call-overload]


BAD = {
    "ape/truncated.jpg": (jpeg(77)[:400], "truncated"),
    "ape/text.jpg": (b"no image at all", "not an image"),
    "ape/empty.jpg": (b"", "empty file"),
    "bear/.DS_Store": (b"\0\0\0\1Bud1", "not an image"),
    "bear/copy.jpg": (raw_files()["bear/bear_0.jpg"], "duplicate: byte-identical to bear/bear_0.jpg"),
    "cat/stolen.jpg": (raw_files()["ape/ape_3.jpg"], "duplicate: byte-identical to ape/ape_3.jpg, in ANOTHER class"),
    "cat/inner/deep.jpg": (jpeg(88), "in a folder inside the class folder cat; expected cat/FILE"),
    "top.jpg": (jpeg(89), "directly in the source"),
    ".git/objects/ab": (b"x", "in .git, a hidden folder"),
}


def test_everything_bad_is_left_out_and_told(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files() | {path: data for path, (data, _) in BAD.items()})
    result = run(source, root)
    told = {reject.path: reject.reason for reject in result.rejects}
    assert told.keys() == BAD.keys()
    for path, (_, reason) in BAD.items():
        assert told[path].startswith(reason), path
    stored = list(csv.reader(io.StringIO(result.store.read(REJECTS).decode())))
    assert stored == [["path", "reason"], *sorted([path, reason] for path, reason in told.items())]
    assert result.manifest.rejected == len(BAD)
    assert [row["path"] for row in index_of(result)] == sorted(raw_files())


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files())
    (source / "ape" / "broken_disk.jpg").symlink_to("/proc/self/mem")  # opens, and fails with EIO when read
    (reject,) = run(source, root).rejects
    assert (reject.path, reject.reason[:11]) == ("ape/broken_disk.jpg", "unreadable:")


def test_the_same_import_twice_does_no_work_twice(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files() | {"ape/text.jpg": b"text"})
    first = run(source, root)
    before = root.entries()
    stages: Counter[str] = Counter()
    second = run(source, root, on_progress=lambda stage, _done, _total: stages.update([stage]))
    assert (second.new, second.manifest) == (False, first.manifest)
    assert stages == {"Checking": 31}
    assert root.entries() == before  # sizes and times too


@pytest.mark.parametrize("change", ["seed", "size", "val_fraction", "rows", "file", "name", "removed"])
def test_anything_that_matters_changes_the_version(tmp_path: Path, root: Store, change: str) -> None:
    source = write_files(tmp_path / "raw", raw_files())
    first = run(source, root)
    options = {
        "seed": {"seed": 1},
        "size": {"size": (16, 12)},
        "val_fraction": {"val_fraction": 0.3},
        "rows": {"rows": 9},
    }
    if change == "file":
        (source / "ape" / "ape_0.jpg").write_bytes(jpeg(99))
    elif change == "name":
        (source / "ape" / "ape_0.jpg").rename(source / "ape" / "ape_00.jpg")
    elif change == "removed":
        (source / "ape" / "ape_0.jpg").unlink()
    second = run(source, root, **options.get(change, {}))
    assert second.new
    assert second.manifest.version != first.manifest.version


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_the_same_dataset_as_its_folder(tmp_path: Path, root: Store, kind: str) -> None:
    files = raw_files() | {"ape/text.jpg": b"text"}
    folder = run(write_files(tmp_path / "raw", files), root)
    make = as_zip if kind == "zip" else as_tar
    archive = run(
        make(tmp_path / f"raw.{kind}", {f"raw/{k}": v for k, v in files.items()}), open_store(str(tmp_path / "b"))
    )
    assert archive.manifest.version == folder.manifest.version
    assert contents(archive.store) == contents(folder.store)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False), threads=st.integers(1, 9), data=st.data())
def test_neither_order_nor_threads_change_a_byte(
    tmp_path_factory: pytest.TempPathFactory, order: random.Random, threads: int, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(5, 12), min_size=2, max_size=4))
    files = {
        f"class{label}/{number}.png": bytes_of(label, number)
        for label, images in enumerate(counts) for number in range(images)
    }  # fmt: skip
    shuffled = list(files.items())
    order.shuffle(shuffled)
    folder = tmp_path_factory.mktemp("property")
    a = run(write_files(folder / "a", files), open_store(str(folder / "store-a")), threads=1)
    b = run(write_files(folder / "b", dict(shuffled)), open_store(str(folder / "store-b")), threads=threads)
    assert a.manifest.version == b.manifest.version
    assert contents(a.store) == contents(b.store)
    splits = Counter((row["label"], row["split"]) for row in index_of(a))
    for label, images in enumerate(counts):
        assert splits[label, "train"] + splits[label, "val"] == images
        assert abs(splits[label, "val"] - 0.2 * images) <= 1


def bytes_of(label: int, number: int) -> bytes:
    buffer = io.BytesIO()
    picture(100 * label + number, 9, 7).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_split_follows_the_seed(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files(images=20))
    held_out = [[row["split"] for row in index_of(run(source, root, seed=seed))] for seed in (0, 1)]
    assert held_out[0] != held_out[1]


REFUSED = {
    "one class": ({"ape/1.jpg": jpeg(1), "ape/2.jpg": jpeg(2)}, "at least 2 class folders, found only ape"),
    "no class": ({"1.jpg": jpeg(1)}, "at least 2 class folders, found none"),
    "one level up": ({f"train/{path}": data for path, data in raw_files().items()}, "did you mean to import train/"),
    "splits": (
        {f"{split}/{path}": data for path, data in raw_files().items() for split in ("train", "val")},
        "did you mean to import train/",
    ),
    "no readable image": (
        raw_files(["ape", "bear"]) | {"owl/1.jpg": b"x", "owl/2.jpg": b"y"},
        "/owl: .* no usable images",
    ),
    "one image": (raw_files(["ape", "bear"]) | {"owl/1.jpg": jpeg(1)}, "/owl: .* 1 usable image, "),
    "one image twice": (raw_files(["ape", "bear"]) | {"owl/1.jpg": jpeg(1), "owl/2.jpg": jpeg(1)}, "/owl: .*duplicate"),
    "too few to split": (
        {f"c{i}/{j}.jpg": jpeg(10 * i + j) for i in range(8) for j in range(2)},
        "cannot be split 80%",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_split_is_refused_and_nothing_is_left(tmp_path: Path, root: Store, case: str) -> None:
    files, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        run(write_files(tmp_path / "raw", files), root)
    assert root.entries() == []


def test_an_empty_class_folder_is_named(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files())
    (source / "dodo").mkdir()
    with pytest.raises(UserError, match="/dodo: this class folder has no files"):
        run(source, root)
    assert root.entries() == []


def test_all_classes_that_fail_are_told_at_once(tmp_path: Path, root: Store) -> None:
    files = raw_files(["ape", "bear"]) | {"owl/1.jpg": b"x", "yak/1.jpg": b"y"}
    with pytest.raises(UserError, match=r"(?s)/owl: .*/yak: "):
        run(write_files(tmp_path / "raw", files), root)


@pytest.mark.parametrize("stage", ["Checking", "Packing"])
@pytest.mark.parametrize("at", [1, 20, 30])
def test_ctrl_c_leaves_no_dataset_and_the_next_import_is_whole(
    tmp_path: Path, root: Store, stage: str, at: int
) -> None:
    source = write_files(tmp_path / "raw", raw_files())

    def interrupt(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(source, root, on_progress=interrupt)
    assert root.entries() == []
    whole = run(source, open_store(str(tmp_path / "other")))
    assert contents(run(source, root).store) == contents(whole.store)


def test_an_import_that_was_killed_is_made_again(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files())
    first = run(source, root)
    whole = contents(first.store)
    first.store.delete(["manifest.json", "images-00003.npy", INDEX])  # as kill -9 leaves it
    first.store.write("images-00001.npy", b"half")
    second = run(source, root)
    assert second.new
    assert contents(second.store) == whole


def test_a_file_changed_during_the_import_is_refused(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", raw_files())

    def meddle(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("Checking", total):
            (source / "cat" / "cat_9.jpg").write_bytes(jpeg(99))

    with pytest.raises(UserError, match=r"cat/cat_9\.jpg changed while"):
        run(source, root, on_progress=meddle)
    assert root.entries() == []


def test_animals10(test_data: Path, root: Store) -> None:
    folder = test_data / "animals10" / "train"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    result = import_wildlife(str(folder), "animals10", root)
    m = result.manifest
    assert len(m.classes) == 10
    assert {split: set(counts.values()) for split, counts in m.counts.items()} == {"train": {80}, "val": {20}}
    assert (m.rejected, [shard.rows for shard in m.shards]) == (0, [256, 256, 256, 232])
    assert m.bytes == sum(entry.size for entry in result.store.entries() if entry.key.endswith(".npy"))
