"""Shards, index, rejects and manifest."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from visionjobs.data.manifest import INDEX, MANIFEST, REJECTS, Manifest, Shard, read_manifest
from visionjobs.data.pack import Packed, ShardWriter, count, write_index, write_rejects
from visionjobs.errors import MissingObjectError, StorageError, UserError
from visionjobs.storage import Store, open_store
from visionjobs.storage_folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "dataset"))


def images(number: int, size: tuple[int, int] = (4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, *size, 3), np.uint8)


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "format": 1, "layout": "wildlife", "name": "zoo", "version": "0123456789abcdef", "classes": ["a", "b"],
        "size": [4, 5], "counts": {"train": {"a": 1, "b": 2}, "val": {"a": 3, "b": 4}}, "rejected": 0,
        "shards": [Shard(file="images-00000.npy", sha256="0" * 64, bytes=728, rows=10)], "index_sha256": "1" * 64,
        "parameters": {"seed": 0, "size": [4, 5]}, "source": "/raw", "created": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return Manifest.model_validate(values | changes)


@pytest.mark.parametrize(("number", "rows"), [(1, 4), (3, 4), (4, 4), (5, 4), (8, 4), (9, 4), (11, 1)])
def test_shards_hold_every_image_in_order(store: Store, tmp_path: Path, number: int, rows: int) -> None:
    pixels = images(number)
    with ShardWriter(store, (4, 5), rows) as writer:
        places = [writer.add(image) for image in pixels]
        shards = writer.finish()
    assert places == [(i // rows, i % rows) for i in range(number)]
    assert [shard.file for shard in shards] == [f"images-{i:05d}.npy" for i in range(-(-number // rows))]
    found = []
    for shard in shards:
        data = store.read(shard.file)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        array = np.load(io.BytesIO(data))
        assert (array.dtype, len(array)) == (np.uint8, shard.rows)
        found.append(array)
    np.testing.assert_array_equal(np.concatenate(found), pixels)


def test_a_shard_is_the_file_that_numpy_writes(store: Store, tmp_path: Path) -> None:
    pixels = images(3)
    with ShardWriter(store, (4, 5)) as writer:
        for image in pixels:
            writer.add(image)
        writer.finish()
    np.save(tmp_path / "numpy.npy", pixels)
    assert store.read("images-00000.npy") == (tmp_path / "numpy.npy").read_bytes()


def test_no_local_file_outlives_the_writer(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    most = 0
    with ShardWriter(store, (4, 5), 2) as writer:
        for image in images(20):
            writer.add(image)
            most = max(most, len(list(temporary.rglob("*.npy"))))
        writer.finish()
    assert most <= 2
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, StorageError, ValueError])
def test_a_failure_deletes_what_was_uploaded(store: Store, failure: type[BaseException]) -> None:
    with pytest.raises(failure), ShardWriter(store, (4, 5), 2) as writer:
        for image in images(9):
            writer.add(image)
        write_rejects(store, [("a", "b")])
        raise failure
    assert store.entries() == []


def test_a_failure_leaves_a_dataset_that_another_import_completed(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), ShardWriter(store, (4, 5), 2) as writer:
        for image in images(4):
            writer.add(image)
        writer.finish()
        store.write(MANIFEST, "{}")
        raise KeyboardInterrupt
    assert [entry.key for entry in store.entries()] == ["images-00000.npy", "images-00001.npy", MANIFEST]


class FullStore(FolderStore):
    """A folder whose disk is full after the first shard."""

    def upload(self, files: dict[str, Path], on_bytes: object = None) -> None:  # type: ignore[override]
        if "images-00000.npy" not in files:
            raise StorageError("the disk is full")
        super().upload(files)


def test_a_failed_upload_is_told_and_cleaned_up(tmp_path: Path) -> None:
    store = FullStore(str(tmp_path / "full"))
    with pytest.raises(StorageError, match="disk is full"), ShardWriter(store, (4, 5), 2) as writer:
        for image in images(20):
            writer.add(image)
        writer.finish()
    assert store.entries() == []


@pytest.mark.parametrize("image", [np.zeros((5, 4, 3), np.uint8), np.zeros((4, 5, 3), np.float32)])
def test_an_image_of_another_shape_or_type_is_a_bug(store: Store, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"), ShardWriter(store, (4, 5)) as writer:
        writer.add(image)


def test_index(store: Store) -> None:
    packed = [Packed(f"a/{i}.jpg", bytes([i] * 32), i % 2, i // 2, i % 2, 10 + i, 20 + i) for i in range(5)]
    digest = write_index(store, packed, ["train", "val", "train", "train", "val"])
    data = store.read(INDEX)
    assert hashlib.sha256(data).hexdigest() == digest
    table = pq.read_table(io.BytesIO(data)).to_pylist()
    assert table[3] == {
        "path": "a/3.jpg", "sha256": "03" * 32, "label": 1, "split": "train", "shard": 1, "row": 1, "width": 13,
        "height": 23,
    }  # fmt: skip


def test_counts_name_every_class_in_every_split() -> None:
    packed = [Packed("x", b"", label, 0, 0, 1, 1) for label in (0, 0, 1)]
    found = count(packed, ["train", "val", "train"], ["a", "b"])
    assert found == {"train": {"a": 1, "b": 1}, "val": {"a": 1, "b": 0}}
    assert list(found) == ["train", "val"]


def test_rejects_survive_odd_names(store: Store) -> None:
    rows = [('a/comma, "quote".jpg', "why, oh why"), ("a/line\nbreak.jpg", "ünïcode"), ("b/ß.jpg", "x")]
    write_rejects(store, rows)
    read = list(csv.reader(io.StringIO(store.read(REJECTS).decode())))
    assert [tuple(row) for row in read] == [("path", "reason"), *rows]


def test_manifest_round_trip(store: Store) -> None:
    store.write(MANIFEST, manifest().model_dump_json())
    assert read_manifest(store) == manifest()
    assert (manifest().images, manifest().bytes) == (10, 728)


def test_no_manifest(store: Store) -> None:
    with pytest.raises(MissingObjectError):
        read_manifest(store)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "format"),
        ("not json", "JSON"),
        (manifest().model_dump_json().replace('"format":1', '"format":2'), "format"),
        (manifest().model_dump_json().replace('"rejected":0', '"rejected":"0"'), "rejected"),
        (manifest().model_dump_json().replace("{", '{"extra":1,', 1), "extra"),
        (manifest().model_dump_json().replace("images-00000.npy", "../../etc/passwd"), "plain file name"),
        (manifest().model_dump_json().replace("2026-01-02T03:04:05+00:00", "yesterday"), "created"),
    ],
)
def test_a_bad_manifest_is_one_message(store: Store, text: str, expected: str) -> None:
    store.write(MANIFEST, text)
    with pytest.raises(UserError, match=expected) as caught:
        read_manifest(store)
    assert str(caught.value).startswith(f"{store.address}/{MANIFEST}")
    assert "import the dataset again" in str(caught.value)
