"""Masks beside images in a packed dataset: written, fetched, verified and read row by row."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from tiny_masks import CLASSES, COLOURS, SIZE, SIZES, Drawn, draw_tiny_masks, pack_masks

from visionjobs.data.cache import ALL, LocalDataset, Split, fetch
from visionjobs.data.catalog import DatasetRef, find_dataset
from visionjobs.data.manifest import MANIFEST, Manifest, read_manifest
from visionjobs.data.pack import ShardWriter, sha256_of
from visionjobs.errors import FinalError, MissingObjectError, UserError
from visionjobs.storage import Store, open_store

DRAWN = draw_tiny_masks()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "dataset"))


@pytest.fixture
def ref(tmp_path: Path) -> DatasetRef:
    """24 images in 3 shards of 9: the splits lie across them."""
    root = open_store(str(tmp_path / "storage"))
    pack_masks(root, "tinymasks", DRAWN)
    return find_dataset(root, "tinymasks")


@pytest.fixture
def dataset(ref: DatasetRef, tmp_path: Path) -> LocalDataset:
    return fetch(ref, tmp_path / "cache")


# ShardWriter


@pytest.mark.parametrize(("number", "rows"), [(1, 4), (4, 4), (9, 4), (3, 1)])
def test_mask_shards_hold_every_mask_in_order(store: Store, number: int, rows: int) -> None:
    masks = np.random.default_rng(0).integers(0, 32, (number, 4, 5), np.uint8)
    with ShardWriter(store, (4, 5), rows, "masks") as writer:
        places = [writer.add(mask) for mask in masks]
        shards = writer.finish()
    assert places == [(i // rows, i % rows) for i in range(number)]
    assert [shard.file for shard in shards] == [f"masks-{i:05d}.npy" for i in range(-(-number // rows))]
    data = [store.read(shard.file) for shard in shards]
    assert [hashlib.sha256(part).hexdigest() for part in data] == [shard.sha256 for shard in shards]
    assert [len(part) for part in data] == [shard.bytes for shard in shards]
    np.testing.assert_array_equal(np.concatenate([np.load(io.BytesIO(part)) for part in data]), masks)


def test_a_mask_shard_is_the_file_that_numpy_writes(store: Store, tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 32, (3, 4, 5), np.uint8)
    with ShardWriter(store, (4, 5), kind="masks") as writer:
        for mask in masks:
            writer.add(mask)
        writer.finish()
    np.save(tmp_path / "numpy.npy", masks)
    assert store.read("masks-00000.npy") == (tmp_path / "numpy.npy").read_bytes()


def test_a_transposed_view_is_packed_as_it_is_seen(store: Store) -> None:
    mask = np.arange(20, dtype=np.uint8).reshape(5, 4).T
    with ShardWriter(store, (4, 5), kind="masks") as writer:
        writer.add(mask)
        writer.finish()
    np.testing.assert_array_equal(np.load(io.BytesIO(store.read("masks-00000.npy")))[0], mask)


@pytest.mark.parametrize("mask", [np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), np.zeros((4, 5), int)])
def test_a_mask_of_another_shape_or_type_is_a_bug(store: Store, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"), ShardWriter(store, (4, 5), kind="masks") as writer:
        writer.add(mask)


def test_a_failure_deletes_masks_and_images(store: Store) -> None:
    def pack() -> None:
        with ShardWriter(store, (4, 5), 2) as images, ShardWriter(store, (4, 5), 2, "masks") as masks:
            for _ in range(5):
                images.add(np.zeros((4, 5, 3), np.uint8))
                masks.add(np.zeros((4, 5), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack()
    assert store.entries() == []


# The manifest


def test_manifest_tells_of_masks(ref: DatasetRef) -> None:
    manifest = read_manifest(ref.store)
    assert (manifest.task, manifest.measured_split, manifest.images) == ("segmentation", "test", 24)
    assert manifest.split_sizes == SIZES
    shards = [*manifest.shards, *manifest.masks]
    assert manifest.bytes == sum(len(ref.store.read(shard.file)) for shard in shards)
    assert manifest.colours == COLOURS
    for split, drawn in DRAWN.items():
        counted = np.bincount(drawn.masks.reshape(-1), minlength=5).tolist()
        assert list(manifest.pixels[split].values()) == counted
        assert sum(counted) == SIZES[split] * SIZE[0] * SIZE[1]
    assert manifest.counts["test"]["tree"] == 0
    assert [manifest.counts[split]["ghost"] for split in SIZES] == [0, 0, 0]


def test_without_a_test_split_val_is_measured(ref: DatasetRef) -> None:
    counts = {split: ref.manifest.counts[split] for split in ("train", "val")}
    assert ref.manifest.model_copy(update={"counts": counts}).measured_split == "val"


def test_a_manifest_from_before_masks_is_one_of_classification(ref: DatasetRef) -> None:
    known = ("masks", "colours", "pixels", "sizes", "off_palette")
    tree = {key: value for key, value in ref.manifest.model_dump().items() if key not in known}
    old = Manifest.model_validate(tree | {"counts": {"train": {"a": 3, "b": 4}, "val": {"a": 1, "b": 2}}})
    assert (old.task, old.split_sizes, old.measured_split) == ("classification", {"train": 7, "val": 3}, "val")


def test_a_mask_file_outside_the_folder_is_refused(ref: DatasetRef) -> None:
    text = ref.store.read(MANIFEST).decode()
    ref.store.delete([MANIFEST])
    ref.store.write(MANIFEST, text.replace("masks-00001.npy", "../masks-00001.npy"))
    with pytest.raises(UserError, match=r"masks\.1\.file.*plain file name"):
        read_manifest(ref.store)


# Fetching


@pytest.mark.parametrize("name", ["masks-00000.npy", "masks-00002.npy"])
def test_a_damaged_mask_shard_names_itself(ref: DatasetRef, tmp_path: Path, name: str) -> None:
    path = Path(ref.address) / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FinalError) as caught:
        fetch(ref, tmp_path / "cache")
    assert f"{path} is damaged" in str(caught.value)
    assert sha256_of(path) in str(caught.value)


def test_a_missing_mask_shard_names_itself(ref: DatasetRef, tmp_path: Path) -> None:
    (Path(ref.address) / "masks-00001.npy").unlink()
    with pytest.raises(MissingObjectError, match=r"masks-00001\.npy is missing"):
        fetch(ref, tmp_path / "cache")


# Reading


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_every_row_is_the_image_with_its_mask(dataset: LocalDataset, name: str) -> None:
    split = dataset.split(name)
    assert (split.has_masks, len(split)) == (True, SIZES[name])
    assert set(split.labels.tolist()) == {-1}
    order = np.random.default_rng(0).integers(0, len(split), 20)  # any order, with repeats
    masks = split.read_masks(order)
    assert (masks.dtype, masks.shape) == (np.uint8, (20, *SIZE))
    np.testing.assert_array_equal(masks, DRAWN[name].masks[order])
    np.testing.assert_array_equal(split.read(order), DRAWN[name].images[order])


def test_all_splits_together(dataset: LocalDataset) -> None:
    split = dataset.split(ALL)
    masks = split.read_masks(np.arange(len(split)))
    np.testing.assert_array_equal(masks, np.concatenate([DRAWN[name].masks for name in SIZES]))
    assert split.paths[12] == "val/00.png"


def test_what_is_read_is_a_copy(dataset: LocalDataset) -> None:
    split = dataset.split("val")
    split.read_masks(np.array([0]))[:] = 99
    np.testing.assert_array_equal(split.read_masks(np.array([0])), DRAWN["val"].masks[:1])


def test_no_index_no_masks(dataset: LocalDataset) -> None:
    assert dataset.split("val").read_masks(np.empty(0, np.int64)).shape == (0, *SIZE)


def test_recoded_masks_have_other_numbers_and_the_same_images(dataset: LocalDataset) -> None:
    split, numbers = dataset.split("val"), [4, 0, 3, 1, 2]
    recoded = split.recoded(numbers)
    every = np.arange(len(split))
    np.testing.assert_array_equal(recoded.read_masks(every), np.array(numbers, np.uint8)[DRAWN["val"].masks])
    np.testing.assert_array_equal(recoded.read(every), split.read(every))
    np.testing.assert_array_equal(split.read_masks(every), DRAWN["val"].masks)
    assert recoded.labels.tolist() == split.labels.tolist()
    assert recoded.paths == split.paths


def test_recoded_twice_is_one_after_the_other(dataset: LocalDataset) -> None:
    """The classes of one dataset in the order of another, and those in the order of a third."""
    first, second = [4, 0, 3, 1, 2], [1, 2, 3, 4, 0]
    once = dataset.split("val").recoded([second[k] for k in first])
    twice = dataset.split("val").recoded(first).recoded(second)
    every = np.arange(5)
    np.testing.assert_array_equal(twice.read_masks(every), once.read_masks(every))


def test_labels_are_recoded_where_there_are_no_masks() -> None:
    shard = np.zeros((3, 4, 5, 3), np.uint8)
    split = Split([shard], np.zeros(3, np.int64), np.arange(3), np.array([0, 1, 0]), ["a", "b", "c"])
    assert not split.has_masks
    assert split.recoded([5, 2]).labels.tolist() == [5, 2, 5]


def test_more_classes_than_one_byte_are_no_masks(tmp_path: Path) -> None:
    """Class 255 is the last one that a mask can hold, and comes back as it was."""
    masks = np.full((2, 4, 5), 255, np.uint8)
    drawn = Drawn(np.zeros((2, 4, 5, 3), np.uint8), masks)
    root = open_store(str(tmp_path / "storage"))
    names = tuple(f"c{k}" for k in range(256))
    pack_masks(root, "many", {"train": drawn, "val": drawn}, names, [[k, k, k] for k in range(256)])
    split = fetch(find_dataset(root, "many"), tmp_path / "cache").split("val")
    np.testing.assert_array_equal(split.read_masks(np.arange(2)), masks)
    np.testing.assert_array_equal(split.recoded(range(255, -1, -1)).read_masks(np.arange(2)), 0 * masks)


def test_the_tiny_dataset_is_what_its_tests_need() -> None:
    assert len(CLASSES) == 5
    present = {split: set(np.unique(drawn.masks).tolist()) for split, drawn in DRAWN.items()}
    assert present == {"train": {0, 1, 2, 3}, "val": {0, 1, 2, 3}, "test": {0, 1, 2}}
