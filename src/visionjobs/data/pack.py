"""The packed format of an image dataset: uint8 shards, an index and a manifest.

<storage>/datasets/<name>/<version>/
    images-00000.npy ...   uint8 [rows, H, W, 3], RGB, in the order of the sorted source paths, all splits together;
                           of a detection dataset uint8 [bytes]: the image files as they were, one after the other
    masks-00000.npy ...    uint8 [rows, H, W], class numbers, of a segmentation dataset: row by row those of the images
    annotations-<split>.json   of a detection dataset: boxes as COCO's JSON, of the images that were kept
    index.parquet          one row an image: where it came from, its label and split, where it lies
    rejects.csv            path, reason of every source file that was left out
    manifest.json          written last: a dataset without one does not exist
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visionjobs.data.manifest import INDEX, MANIFEST, REJECTS, Shard
from visionjobs.errors import StorageError, VisionjobsError
from visionjobs.storage import Store

ROWS = 256
"""Images a shard: 38 MB at 224 px, large enough for S3, small enough to fetch again."""

INDEX_SCHEMA = pa.schema(
    [
        ("path", pa.string()), ("sha256", pa.string()), ("label", pa.int32()), ("split", pa.string()),
        ("shard", pa.int32()), ("row", pa.int32()), ("width", pa.int32()), ("height", pa.int32()),
    ]
)  # fmt: skip

FILE_COLUMNS = ("image_id", "offset", "bytes")
"""int64 columns of the index where the shards hold files: COCO's id, where the file begins in its shard, its size."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Packed:
    """One image of the index. sha256: of the source file, raw; label: -1 where there are masks or boxes; row: which of
    its shard's images it is; width, height: of the source image, in pixels."""

    path: str
    sha256: bytes
    label: int
    shard: int
    row: int
    width: int
    height: int


def write_index(
    store: Store, images: list[Packed], splits: list[str], files: Mapping[str, list[int]] | None = None
) -> str:
    """Write index.parquet, a row an image in the given order. files: FILE_COLUMNS, where the shards hold files.
    Returns the index's sha256."""
    columns = {
        "path": [image.path for image in images],
        "sha256": [image.sha256.hex() for image in images],
        "label": [image.label for image in images],
        "split": splits,
        "shard": [image.shard for image in images],
        "row": [image.row for image in images],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
    }
    schema = INDEX_SCHEMA
    for name in files or ():
        schema = schema.append(pa.field(name, pa.int64()))
    buffer = io.BytesIO()
    pq.write_table(pa.table({**columns, **(files or {})}, schema=schema), buffer)
    store.write(INDEX, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def count(images: Iterable[Packed], splits: Iterable[str], classes: list[str]) -> dict[str, dict[str, int]]:
    """Split -> class -> number of images, with every class named in every split."""
    found = Counter((split, image.label) for image, split in zip(images, splits, strict=True))
    names = sorted({split for split, _ in found}, key=("train", "val", "test").index)
    return {split: {name: found[split, label] for label, name in enumerate(classes)} for split in names}


def write_rejects(store: Store, rejects: Iterable[tuple[str, str]]) -> None:
    """Write rejects.csv from (path, reason) pairs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(rejects)
    store.write(REJECTS, text.getvalue())


class _Shards(ABC):
    """Fills shards and uploads each when it is full, while the next one fills.

    At most two shards lie in the local temporary folder and none in memory, however many images follow. Left by an
    exception (Ctrl-C too), it deletes what it uploaded and the `beside` of it, unless another import has completed the
    same dataset.
    """

    def __init__(self, store: Store, kind: str, beside: Iterable[str] = ()) -> None:
        """beside: keys of other files of the dataset, that whoever uses this writes."""
        self._store, self._kind, self._beside = store, kind, (*beside, INDEX, REJECTS)
        self._file: IO[bytes] | None = None
        self._filled = 0
        self._shards: list[Shard] = []
        self._names: list[str] = []
        self._upload: Future[Shard] | None = None

    @property
    @abstractmethod
    def _shape(self) -> tuple[int, ...]:
        """Of the array in the shard that is being filled."""

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="visionjobs-import-")
        self._folder = Path(self._temporary.name)
        self._uploader = ThreadPoolExecutor(1, thread_name_prefix="upload")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._uploader.shutdown(wait=True, cancel_futures=True)
        if self._file is not None:
            self._file.close()
        self._temporary.cleanup()
        if kind is not None:
            self._withdraw()

    def finish(self) -> list[Shard]:
        """Upload the last shard and wait for it. Returns all, in order."""
        if self._file is not None:
            self._end()
        self._wait()
        return self._shards

    def _append(self, data: memoryview | bytes) -> tuple[int, int]:
        """Add an image's bytes. Returns (shard, row). Raises StorageError where the local disk is full."""
        try:
            if self._file is None:
                self._begin()
            self._writing.write(data)
        except OSError as error:
            raise self._local(error) from error
        self._filled += 1
        return len(self._names) - 1, self._filled - 1

    @property
    def _writing(self) -> IO[bytes]:
        assert self._file is not None  # noqa: S101 (for the type checker)
        return self._file

    def _begin(self) -> None:
        self._names.append(f"{self._kind}-{len(self._names):05d}.npy")
        self._file = (self._folder / self._names[-1]).open("wb")
        self._filled = 0
        self._header()

    def _header(self) -> None:
        """numpy pads the header so that the first axis may change later without moving the data."""
        header = {"descr": "|u1", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._writing, header)

    def _end(self) -> None:
        path = self._folder / self._names[-1]
        try:
            self._writing.seek(0)
            self._header()
            self._writing.close()
        except OSError as error:
            raise self._local(error) from error
        self._file = None
        self._wait()
        self._upload = self._uploader.submit(self._send, path, self._filled)

    def _wait(self) -> None:
        if self._upload is not None:
            self._shards.append(self._upload.result())
            self._upload = None

    def _send(self, path: Path, rows: int) -> Shard:
        shard = Shard(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size, rows=rows)
        self._store.upload({path.name: path})
        path.unlink()
        return shard

    def _withdraw(self) -> None:
        try:
            if not self._store.exists(MANIFEST):
                self._store.delete([*self._names, *self._beside])
        except VisionjobsError as error:  # what made the import fail is the one to tell
            log.warning("%s: the unfinished import could not be deleted: %s", self._store.address, error)

    def _local(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._folder}: a shard could not be written: {error.strerror or error}. "
            f"Free some space there, or set TMPDIR to a folder with at least 1 GB."
        )


class ShardWriter(_Shards):
    """Packs images, or masks, of one size: kind "images" (uint8 [H, W, 3]) or "masks" (uint8 [H, W]), of `size`
    (H, W), `rows` a shard."""

    def __init__(
        self, store: Store, size: tuple[int, int], rows: int = ROWS, kind: Literal["images", "masks"] = "images"
    ) -> None:
        super().__init__(store, kind)
        self.size, self._rows = size, rows
        self._image = (*size, 3) if kind == "images" else size

    @property
    def _shape(self) -> tuple[int, ...]:
        return self._filled, *self._image

    def add(self, image: npt.NDArray[np.uint8]) -> tuple[int, int]:
        """Append an image or mask. Returns (shard, row). Raises StorageError where the local disk is full."""
        if image.shape != self._image or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._image}, got {image.dtype} {image.shape}")
        place = self._append(np.ascontiguousarray(image).data)
        if self._filled == self._rows:
            self._end()
        return place


class FileShardWriter(_Shards):
    """Packs image files as they are, whole ones, and closes a shard when it has `size` bytes or more."""

    def __init__(self, store: Store, size: int, beside: Iterable[str] = ()) -> None:
        super().__init__(store, "images", beside)
        self._size, self._bytes = size, 0

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self._bytes,)

    def add(self, file: bytes) -> tuple[int, int, int]:
        """Append a file. Returns (shard, row, offset). Raises StorageError where the local disk is full."""
        offset = self._bytes
        shard, row = self._append(file)
        self._bytes += len(file)
        if self._bytes >= self._size:
            self._end()
            self._bytes = 0
        return shard, row, offset


def sha256_of(path: Path) -> str:
    """sha256 of a file, hexadecimal, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
