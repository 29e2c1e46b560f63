"""Import from and to a real S3 server, and the fetch from there."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from camvid_files import usual
from coco_files import coco, picture_of
from import_helpers import contents, jpeg, raw_files, write_files
from s3_servers import S3Server
from test_source import as_zip

from visionjobs.data.cache import fetch
from visionjobs.data.camvid import import_camvid
from visionjobs.data.catalog import find_dataset, list_datasets
from visionjobs.data.coco import import_coco
from visionjobs.data.coco_dataset import open_boxes
from visionjobs.data.manifest import MANIFEST
from visionjobs.data.wildlife import import_wildlife
from visionjobs.errors import FinalError, StorageError, UserError
from visionjobs.storage import Store, open_store

pytestmark = pytest.mark.s3
SIZE = (12, 16)


@pytest.fixture
def bucket(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    seaweedfs.use(monkeypatch)
    return open_store(f"{seaweedfs.address}/{tmp_path.name}")


def test_round_trip(bucket: Store, tmp_path: Path) -> None:
    files = raw_files() | {"ape/text.jpg": b"text", "top.jpg": jpeg(5)}
    here = import_wildlife(str(write_files(tmp_path / "raw", files)), "zoo", open_store(str(tmp_path / "s")), size=SIZE)
    for path, data in files.items():
        bucket.at("raw").write(path, data)
    there = import_wildlife(bucket.at("raw").address, "zoo", bucket, size=SIZE)
    assert there.manifest.version == here.manifest.version
    assert contents(there.store) == contents(here.store)
    assert [ref.manifest for ref in list_datasets(bucket)] == [there.manifest]
    assert not import_wildlife(bucket.at("raw").address, "zoo", bucket, size=SIZE).new

    counted = []
    dataset = fetch(find_dataset(bucket, "zoo"), tmp_path / "cache", counted.append)
    assert sum(counted) >= there.manifest.bytes
    local = fetch(find_dataset(open_store(str(tmp_path / "s")), "zoo"), tmp_path / "cache2")
    for split in ("train", "val"):
        np.testing.assert_array_equal(dataset.split(split).read_all(), local.split(split).read_all())


def test_round_trip_of_images_and_masks(bucket: Store, tmp_path: Path) -> None:
    files = usual() | {"train/alone.png": jpeg(5)}
    here = import_camvid(str(write_files(tmp_path / "raw", files)), "roads", open_store(str(tmp_path / "s")), size=SIZE)
    for path, data in files.items():
        bucket.at("raw").write(path, data)
    there = import_camvid(bucket.at("raw").address, "roads", bucket, size=SIZE)
    assert there.manifest.version == here.manifest.version
    assert contents(there.store) == contents(here.store)
    dataset = fetch(find_dataset(bucket, "roads"), tmp_path / "cache")
    local = fetch(find_dataset(open_store(str(tmp_path / "s")), "roads"), tmp_path / "cache2")
    for split, images in {"train": 4, "val": 2, "test": 2}.items():
        one, other = dataset.split(split), local.split(split)
        np.testing.assert_array_equal(one.read_all(), other.read_all())
        np.testing.assert_array_equal(one.read_masks(np.arange(images)), other.read_masks(np.arange(images)))


def test_round_trip_of_files_and_boxes(bucket: Store, tmp_path: Path) -> None:
    here = import_coco(str(write_files(tmp_path / "raw", coco())), "apes", open_store(str(tmp_path / "s")))
    for path, data in coco().items():
        bucket.at("raw").write(path, data)
    there = import_coco(bucket.at("raw").address, "apes", bucket)
    assert there.manifest.version == here.manifest.version
    assert contents(there.store) == contents(here.store)
    counted: list[int] = []
    opened = open_boxes(fetch(find_dataset(bucket, "apes"), tmp_path / "cache", counted.append), "val")
    assert sum(counted) >= there.manifest.bytes
    assert [opened.encoded(number) for number in range(3)] == [picture_of("val", number) for number in range(3)]
    assert len(opened.truth) == 5


def test_an_interrupted_import_of_boxes_leaves_nothing_in_the_bucket(bucket: Store, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("Packing", 7):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_coco(str(write_files(tmp_path / "raw", coco())), "apes", bucket, shard_bytes=1, on_progress=interrupt)
    assert bucket.entries() == []


def test_an_interrupted_import_of_masks_leaves_nothing_in_the_bucket(bucket: Store, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("Packing", 7):
            raise KeyboardInterrupt

    source = write_files(tmp_path / "raw", usual())
    with pytest.raises(KeyboardInterrupt):
        import_camvid(str(source), "roads", bucket, size=SIZE, rows=3, on_progress=interrupt)
    assert bucket.entries() == []


def test_an_archive_in_a_bucket(bucket: Store, tmp_path: Path) -> None:
    bucket.upload({"raw.zip": as_zip(tmp_path / "raw.zip", raw_files())})
    result = import_wildlife(f"{bucket.address}/raw.zip", "zoo", bucket, size=SIZE)
    assert result.manifest.images == 30
    assert result.manifest.source == f"{bucket.address}/raw.zip"


def test_an_empty_address(bucket: Store) -> None:
    with pytest.raises(UserError, match="at least 2 class folders, found none"):
        import_wildlife(bucket.at("nothing").address, "zoo", bucket)


def test_a_damaged_object_is_final_and_named(bucket: Store, tmp_path: Path) -> None:
    result = import_wildlife(str(write_files(tmp_path / "raw", raw_files())), "zoo", bucket, size=SIZE)
    data = bytearray(result.store.read("images-00000.npy"))
    data[-1] ^= 1
    result.store.write("images-00000.npy", bytes(data))
    with pytest.raises(FinalError, match=r"images-00000\.npy is damaged: its sha256 is [0-9a-f]{64}"):
        fetch(find_dataset(bucket, "zoo"), tmp_path / "cache")


def test_a_server_gone_in_mid_import_leaves_no_dataset(
    private_seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private_seaweedfs.use(monkeypatch)
    root = open_store(private_seaweedfs.address)
    source = write_files(tmp_path / "raw", raw_files())

    def stop_server(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("Packing", 20):
            private_seaweedfs.stop(signal.SIGKILL)

    with pytest.raises(StorageError):
        import_wildlife(str(source), "zoo", root, size=SIZE, rows=8, on_progress=stop_server)
    private_seaweedfs.start()
    assert list_datasets(root) == []
    assert import_wildlife(str(source), "zoo", root, size=SIZE, rows=8).store.exists(MANIFEST)
