"""Fetching a dataset to a node: verified, once, resumed; and reading it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from import_helpers import raw_files, write_files

from visionjobs.data.cache import UNVERIFIED, fetch
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.manifest import INDEX
from visionjobs.data.pack import sha256_of
from visionjobs.data.wildlife import import_wildlife
from visionjobs.errors import FinalError, MissingObjectError, StorageError
from visionjobs.storage import Entry, OnBytes, Store, open_store


class DistantStore(Store):
    """A folder behind an address with a scheme, so that it is copied; it counts, and may spoil, what it sends."""

    def __init__(self, inner: Store, spoil: int = 0) -> None:
        self.inner, self.address, self.spoil = inner, "test://bucket/dataset", spoil
        self.sent: list[str] = []

    def at(self, *parts: str) -> Store:
        raise NotImplementedError

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def read(self, key: str) -> bytes:
        return self.inner.read(key)

    def write(self, key: str, data: bytes | str, *, if_absent: bool = False) -> None:
        raise NotImplementedError

    def entries(self, prefix: str = "") -> list[Entry]:
        return self.inner.entries(prefix)

    def folders(self, prefix: str = "") -> list[str]:
        return self.inner.folders(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        raise NotImplementedError

    def upload(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        raise NotImplementedError

    def download(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        for key, path in files.items():
            self.sent.append(key)
            self.inner.download({key: path}, on_bytes)
            if key == "images-00001.npy" and self.spoil:
                self.spoil -= 1
                path.write_bytes(path.read_bytes()[:-1] + b"?")

    def refuses_overwrite(self, key: str) -> bool:
        raise NotImplementedError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    """30 images of 3 classes in 4 shards, in a local folder."""
    folder = tmp_path_factory.mktemp("made")
    source = write_files(folder / "raw", raw_files())
    result = import_wildlife(str(source), "zoo", open_store(str(folder / "store")), size=(12, 16), rows=8)
    return DatasetRef(result.store, result.manifest)


@pytest.fixture
def local(made: DatasetRef, tmp_path: Path) -> DatasetRef:
    """A copy of its own, to spoil."""
    store = open_store(str(tmp_path / "own"))
    for entry in made.store.entries():
        store.write(entry.key, made.store.read(entry.key))
    return DatasetRef(store, made.manifest)


def distant(made: DatasetRef, spoil: int = 0) -> tuple[DatasetRef, DistantStore]:
    store = DistantStore(made.store, spoil)
    return DatasetRef(store, made.manifest), store


def test_a_local_dataset_is_used_where_it_is(made: DatasetRef, tmp_path: Path) -> None:
    dataset = fetch(made, tmp_path)
    assert dataset.folder == Path(made.address)
    assert not list(tmp_path.rglob("*.npy"))


def test_a_local_dataset_is_hashed_once_a_node(local: DatasetRef, tmp_path: Path) -> None:
    fetch(local, tmp_path / "cache")
    shard = Path(local.address) / "images-00000.npy"
    status = shard.stat()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    fetch(local, tmp_path / "cache")  # same size and time: the marker is trusted, so nothing was hashed
    os.utime(shard)
    with pytest.raises(FinalError, match=r"images-00000\.npy is damaged"):
        fetch(local, tmp_path / "cache")


@pytest.mark.parametrize("name", ["images-00002.npy", INDEX])
def test_a_damaged_local_file_names_itself_and_both_hashes(local: DatasetRef, tmp_path: Path, name: str) -> None:
    path = Path(local.address) / name
    expected = sha256_of(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(FinalError) as caught:
        fetch(local, tmp_path / "cache")
    for text in (str(path), expected, sha256_of(path)):
        assert text in str(caught.value)


def test_a_missing_local_file(local: DatasetRef, tmp_path: Path) -> None:
    (Path(local.address) / "images-00001.npy").unlink()
    with pytest.raises(MissingObjectError, match=r"images-00001\.npy is missing"):
        fetch(local, tmp_path / "cache")


def test_a_distant_dataset_is_copied_once(made: DatasetRef, tmp_path: Path) -> None:
    ref, store = distant(made)
    counted = []
    dataset = fetch(ref, tmp_path, counted.append)
    names = [shard.file for shard in made.manifest.shards]
    assert sorted(store.sent) == [*names, INDEX]
    assert sum(counted) == made.manifest.bytes + len(made.store.read(INDEX))
    assert dataset.folder == tmp_path / "datasets" / "zoo" / made.manifest.version
    assert sorted(path.name for path in dataset.folder.iterdir()) == [*names, INDEX]
    fetch(ref, tmp_path)
    assert len(store.sent) == len(names) + 1


def test_an_interrupted_fetch_goes_on_with_what_is_missing(made: DatasetRef, tmp_path: Path) -> None:
    ref, store = distant(made)
    folder = fetch(ref, tmp_path).folder
    (folder / "images-00001.npy").rename(folder / ("images-00001.npy" + UNVERIFIED))  # whole, killed before its name
    whole = (folder / "images-00002.npy").read_bytes()
    (folder / "images-00002.npy").unlink()
    (folder / ("images-00002.npy" + UNVERIFIED)).write_bytes(whole[:100])
    (folder / "images-00003.npy").write_bytes(whole[:100])
    (folder / ".tmp-of-a-killed-transfer").write_bytes(b"x")
    store.sent.clear()
    dataset = fetch(ref, tmp_path)
    assert sorted(store.sent) == ["images-00002.npy", "images-00003.npy"]
    assert {path.name for path in folder.iterdir()} == {shard.file for shard in made.manifest.shards} | {INDEX}
    np.testing.assert_array_equal(dataset.split("train").read_all(), fetch(made, tmp_path).split("train").read_all())


def test_a_transfer_gone_wrong_is_repeated_once(made: DatasetRef, tmp_path: Path) -> None:
    ref, store = distant(made, spoil=1)
    fetch(ref, tmp_path)
    assert store.sent.count("images-00001.npy") == 2


def test_a_file_that_stays_wrong_is_final_and_gets_no_name(made: DatasetRef, tmp_path: Path) -> None:
    ref, store = distant(made, spoil=9)
    with pytest.raises(FinalError, match=r"test://bucket/dataset/images-00001\.npy is damaged"):
        fetch(ref, tmp_path)
    assert store.sent.count("images-00001.npy") == 2
    assert not list(tmp_path.rglob("images-00001.npy*"))


def test_several_fetches_at_once_copy_once(made: DatasetRef, tmp_path: Path) -> None:
    ref, store = distant(made)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch(ref, tmp_path), range(4)))
    assert len(store.sent) == len(set(store.sent))


def test_a_cache_that_cannot_be_written(made: DatasetRef, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="VISIONJOBS_CACHE"):
        fetch(made, tmp_path / "cache")


@pytest.fixture(scope="module")
def pixels(made: DatasetRef) -> dict[str, np.ndarray]:
    """Source path -> its packed pixels, found without the code under test."""
    import io

    import pyarrow.parquet as pq

    shards = [np.load(io.BytesIO(made.store.read(shard.file))) for shard in made.manifest.shards]
    rows = pq.read_table(io.BytesIO(made.store.read(INDEX))).to_pylist()
    return {row["path"]: shards[row["shard"]][row["row"]] for row in rows}


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_split_has_its_own_images(made: DatasetRef, tmp_path: Path, pixels: dict[str, np.ndarray], name: str) -> None:
    split = fetch(made, tmp_path).split(name)
    assert len(split) == len(split.labels) == len(split.paths) == {"train": 24, "val": 6}[name]
    assert split.labels.dtype == np.int64
    assert split.paths == sorted(split.paths)
    classes = made.manifest.classes
    assert [classes[label] for label in split.labels] == [path.split("/")[0] for path in split.paths]
    np.testing.assert_array_equal(split.read_all(), np.stack([pixels[path] for path in split.paths]))


@pytest.mark.parametrize("indices", [[0], [5, 5, 5], [23, 0, 11, 2, 0], [], list(range(24))[::-1]])
def test_reading_any_indices(
    made: DatasetRef, tmp_path: Path, pixels: dict[str, np.ndarray], indices: list[int]
) -> None:
    split = fetch(made, tmp_path).split("train")
    found = split.read(np.array(indices, np.int64))
    assert (found.dtype, found.shape) == (np.uint8, (len(indices), 12, 16, 3))
    for image, index in zip(found, indices, strict=True):
        np.testing.assert_array_equal(image, pixels[split.paths[index]])


def test_an_index_outside_of_the_split(made: DatasetRef, tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        fetch(made, tmp_path).split("val").read(np.array([6]))


@pytest.mark.parametrize("rows", [1, 5, 24, 100])
def test_blocks_are_the_split_in_order(made: DatasetRef, tmp_path: Path, rows: int) -> None:
    split = fetch(made, tmp_path).split("train")
    blocks = list(split.blocks(rows))
    assert all(len(block) <= rows for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), split.read_all())


def test_what_is_read_can_be_changed_without_changing_the_dataset(made: DatasetRef, tmp_path: Path) -> None:
    split = fetch(made, tmp_path).split("train")
    first = split.read(np.array([0]))
    first += 1
    assert not np.array_equal(first, split.read(np.array([0])))


def test_reading_from_several_threads(made: DatasetRef, tmp_path: Path) -> None:
    split = fetch(made, tmp_path).split("train")
    everything = split.read_all()
    together = threading.Barrier(4)

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        together.wait()
        for _ in range(50):
            indices = rng.integers(0, 24, 16)
            np.testing.assert_array_equal(split.read(indices), everything[indices])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))


def test_no_such_split(made: DatasetRef, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="train, val"):
        fetch(made, tmp_path).split("test")
