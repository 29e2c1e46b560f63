"""The node-local copy of a packed dataset: fetched once, verified, memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visionjobs.data.catalog import DatasetRef
from visionjobs.data.manifest import FOLDER, INDEX, AnnotationFile, Manifest, Shard
from visionjobs.data.pack import sha256_of
from visionjobs.data.parallel import ordered_map
from visionjobs.errors import FinalError, MissingObjectError, StorageError
from visionjobs.storage import OnBytes, Store

TRANSFERS = 4
UNVERIFIED = ".unverified"
ALL = "all"
"""The split that holds every image."""


class Split:
    """The images of one split, in the order of their source paths. Safe to read from several threads.

    labels: int64 [n], -1 for an image with a mask; paths: n source paths, relative to the source; has_masks: whether
    each image has a mask. codes: what each class number of the masks becomes, uint8 [256].
    """

    def __init__(
        self, shards: list[npt.NDArray[np.uint8]], shard: npt.NDArray[np.int64], row: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64], paths: list[str], masks: list[npt.NDArray[np.uint8]] | None = None,
        codes: npt.NDArray[np.uint8] | None = None,
    ) -> None:  # fmt: skip
        self._shards, self._shard, self._row, self._masks, self._codes = shards, shard, row, masks or [], codes
        self.labels = labels
        self.paths = paths

    @property
    def has_masks(self) -> bool:
        """Whether `read_masks` has something to read."""
        return bool(self._masks)

    def __len__(self) -> int:
        return len(self.labels)

    def recoded(self, numbers: Sequence[int]) -> Split:
        """The same images with other class numbers: class i becomes class numbers[i], in labels and masks."""
        codes = np.arange(256, dtype=np.uint8)
        codes[: len(numbers)] = numbers
        if self._codes is not None:
            codes = codes[self._codes]
        labels = np.array(numbers, np.int64)[self.labels] if not self._masks else self.labels
        return Split(self._shards, self._shard, self._row, labels, self.paths, self._masks, codes)

    def read(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Images uint8 [len(indices), H, W, 3]; indices within the split, in any order, repeats allowed."""
        return self._read(self._shards, indices)

    def read_masks(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Class numbers uint8 [len(indices), H, W] of the same images."""
        masks = self._read(self._masks, indices)
        return masks if self._codes is None else self._codes[masks]

    def _read(self, shards: list[npt.NDArray[np.uint8]], indices: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        rows = np.empty((len(indices), *shards[0].shape[1:]), np.uint8)
        for out, shard, row in zip(rows, self._shard[indices].tolist(), self._row[indices].tolist(), strict=True):
            out[...] = shards[shard][row]  # one copy of a whole image: contiguous on both sides
        return rows

    def read_all(self) -> npt.NDArray[np.uint8]:
        """The whole split, uint8 [n, H, W, 3], read in the order in which it lies on disk."""
        return self.read(np.arange(len(self)))

    def blocks(self, rows: int = 256) -> Iterator[npt.NDArray[np.uint8]]:
        """The whole split in order, in pieces of at most `rows` images."""
        for start in range(0, len(self), rows):
            yield self.read(np.arange(start, min(start + rows, len(self))))


class LocalDataset:
    """A dataset whose verified files lie in a local folder. shards: memory-mapped, as pack.py tells."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self.manifest = manifest
        self.folder = folder
        self._index = pq.read_table(folder / INDEX, use_threads=False)
        self.shards, self._masks = (
            [np.load(folder / shard.file, mmap_mode="r").view(np.ndarray) for shard in shards]
            for shards in (manifest.shards, manifest.masks)
        )

    def rows(self, name: str) -> pa.Table:
        """The index's rows of a split of the manifest's, or of "all". Raises KeyError where there is none so called."""
        if name not in (*self.manifest.counts, ALL):
            raise KeyError(f"{self.manifest.name} has the splits {', '.join(self.manifest.counts)}, not {name}")
        if name == ALL:
            return self._index
        return self._index.take(np.flatnonzero(self._index["split"].to_numpy() == name))

    def split(self, name: str) -> Split:
        """A split of images of one size; those of a detection dataset are opened by coco_dataset.py. Raises KeyError
        as `rows`."""
        rows = self.rows(name)
        column = {key: rows[key].to_numpy().astype(np.int64) for key in ("shard", "row", "label")}
        return Split(
            self.shards, column["shard"], column["row"], column["label"], rows["path"].to_pylist(), self._masks
        )


def fetch(ref: DatasetRef, cache: Path, on_bytes: OnBytes | None = None) -> LocalDataset:
    """The dataset on this node, each file verified by its sha256 before it is used.

    A dataset in a local folder is verified once and used where it is. One on S3 is copied to
    `<cache>/datasets/<name>/<version>/`; a fetch that was interrupted goes on with the files that are missing.
    Raises FinalError (a sha256 differs, naming the file), StorageError (no answer, cache full), MissingObjectError.
    """
    expected = _files(ref.manifest)
    lock = cache / FOLDER / ref.manifest.name / f"{ref.manifest.version}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):
            if "://" in ref.address:
                folder = cache / FOLDER / ref.manifest.name / ref.manifest.version
                _copy(ref.store, expected, folder, on_bytes)
            else:
                folder = Path(ref.address)
                _verify_in_place(folder, expected, cache)
            return LocalDataset(ref.manifest, folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename or cache}: {error.strerror or error}. The cache folder {cache} must be writable and have "
            f"room for {ref.manifest.bytes / 1e9:.1f} GB; VISIONJOBS_CACHE names another one."
        ) from error


def _files(manifest: Manifest) -> dict[str, tuple[str, int | None]]:
    """File -> (sha256, size in bytes where it is known)."""
    packed: list[Shard | AnnotationFile] = [*manifest.shards, *manifest.masks, *manifest.annotations]
    files: dict[str, tuple[str, int | None]] = {file.file: (file.sha256, file.bytes) for file in packed}
    return files | {INDEX: (manifest.index_sha256, None)}


def _copy(store: Store, expected: dict[str, tuple[str, int | None]], folder: Path, on_bytes: OnBytes | None) -> None:
    """Bring the missing files into `folder`. A file that has its final name was verified when it got it."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for name, (_, size) in expected.items():
        path = folder / name
        if not path.is_file() or (size is not None and path.stat().st_size != size):
            missing.append(name)
    keep = expected.keys() | {name + UNVERIFIED for name in expected}
    for path in folder.iterdir():
        if path.name not in keep:  # left by a transfer that was killed
            path.unlink()

    def fetch_one(name: str) -> None:
        _fetch_file(store, name, expected[name][0], folder, on_bytes)

    for _ in ordered_map(fetch_one, missing, TRANSFERS):
        pass


def _fetch_file(store: Store, name: str, sha256: str, folder: Path, on_bytes: OnBytes | None) -> None:
    """Download, verify, rename; once more where the sha256 differs (a transfer may go wrong, storage may not)."""
    partial = folder / (name + UNVERIFIED)
    if partial.is_file() and sha256_of(partial) == sha256:  # whole, but killed before it got its name
        partial.rename(folder / name)
        return
    found = ""
    for _ in range(2):
        store.download({name: partial}, on_bytes)
        found = sha256_of(partial)
        if found == sha256:
            partial.rename(folder / name)
            return
    partial.unlink()
    raise _differs(f"{store.address}/{name}", sha256, found)


def _verify_in_place(folder: Path, expected: dict[str, tuple[str, int | None]], cache: Path) -> None:
    """Hash the files once a node: a marker in the cache remembers them by path, size, time and expected sha256."""
    state = []
    for name, (sha256, _) in expected.items():
        path = folder / name
        if not path.is_file():
            raise MissingObjectError(f"{path} is missing, though the manifest names it: import the dataset again.")
        stat = path.stat()
        state.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns, sha256])
    marker = cache / "verified" / hashlib.sha256(json.dumps(state).encode()).hexdigest()
    if marker.is_file():
        return

    def differing(name: str) -> FinalError | None:
        found = sha256_of(folder / name)
        return None if found == expected[name][0] else _differs(str(folder / name), expected[name][0], found)

    for error in ordered_map(differing, expected, TRANSFERS):
        if error is not None:
            raise error
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _differs(file: str, expected: str, found: str) -> FinalError:
    return FinalError(
        f"{file} is damaged: its sha256 is {found}, and the manifest says {expected}. "
        "Delete that version of the dataset and import it again."
    )
