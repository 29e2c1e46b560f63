"""A packed detection dataset, opened: the image files of a split and its boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from visionjobs.boxes import Ints, Truth
from visionjobs.coco_json import read_annotations
from visionjobs.data.cache import ALL, LocalDataset
from visionjobs.data.decode import UnusableImageError, decode_stored
from visionjobs.errors import UserError


class BoxSplit:
    """The images of one split, in ascending order of image id: those of `truth`. Safe to read from several threads."""

    def __init__(
        self, name: str, truth: Truth, shards: Sequence[npt.NDArray[np.uint8]], shard: Ints, offset: Ints, size: Ints
    ) -> None:
        """shard, offset, size: int64 [I]: in which shard an image's file lies, where it begins, its bytes."""
        self.name, self.truth = name, truth
        self._shards, self._shard, self._offset, self._size = shards, shard, offset, size

    def __len__(self) -> int:
        return len(self._size)

    def encoded(self, index: int) -> bytes:
        """The file of the image at `index` of truth.image_ids, as it was imported: JPEG, PNG ..."""
        start = self._offset[index]
        file: npt.NDArray[np.uint8] = self._shards[self._shard[index]][start : start + self._size[index]]
        return file.tobytes()


def open_boxes(local: LocalDataset, split: str) -> BoxSplit:
    """A split of a detection dataset, or "all" of them one after the other.

    Of "all", truth.paths are those of the source, and the images and annotations are numbered anew from 1 where two
    splits use the same image ids. Raises KeyError as LocalDataset.rows, UserError where the dataset has no boxes.
    """
    if local.manifest.task != "detection":
        raise UserError(f"the dataset {local.manifest.name} has no boxes: it is one for {local.manifest.task}")
    if split != ALL:
        return _one(local, split)
    opened = [_one(local, name) for name in local.manifest.counts]
    truths = []
    for part in opened:
        rows = local.rows(part.name).sort_by("image_id")
        truths.append(replace(part.truth, paths=tuple(rows["path"].to_pylist())))
    truth, order = _joined(truths)
    places = (np.concatenate([getattr(part, key) for part in opened])[order] for key in ("_shard", "_offset", "_size"))
    return BoxSplit(ALL, truth, local.shards, *places)


def decode_rgb(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB. A turn that EXIF asks for is not made: COCO's boxes are in the stored pixels.

    Raises UserError naming the image `name` where it cannot be decoded.
    """
    try:
        return decode_stored(io.BytesIO(data))
    except UnusableImageError as error:
        raise UserError(
            f"{name}: cannot be decoded: {error}. Leave it out, or replace it, and import again."
        ) from error


def _one(local: LocalDataset, split: str) -> BoxSplit:
    rows = local.rows(split).sort_by("image_id")
    (file,) = (file.file for file in local.manifest.annotations if file.split == split)
    truth = read_annotations((local.folder / file).read_bytes(), str(local.folder / file))
    shard, offset, size = (rows[key].to_numpy().astype(np.int64) for key in ("shard", "offset", "bytes"))
    return BoxSplit(split, truth, local.shards, shard, offset, size)


def _joined(truths: Sequence[Truth]) -> tuple[Truth, Ints]:
    """All images and boxes, of the same categories, and the order int64 [I] in which the images now stand."""
    starts = np.cumsum([0, *(len(truth.image_ids) for truth in truths)])
    ids = np.concatenate([truth.image_ids for truth in truths])
    images = np.concatenate([truth.images + start for truth, start in zip(truths, starts, strict=False)])
    names = ("annotation_ids", "categories", "boxes", "areas", "crowd")
    joined = {name: np.concatenate([getattr(truth, name) for truth in truths]) for name in names}
    if len(np.unique(ids)) < len(ids):
        ids = np.arange(1, len(ids) + 1)
    if len(np.unique(joined["annotation_ids"])) < len(images):
        joined["annotation_ids"] = np.arange(1, len(images) + 1)
    order = np.argsort(ids)
    paths = [path for truth in truths for path in truth.paths]
    return Truth(
        image_ids=ids[order], paths=tuple(paths[place] for place in order.tolist()),
        image_sizes=np.concatenate([truth.image_sizes for truth in truths])[order],
        category_ids=truths[0].category_ids, classes=truths[0].classes, images=np.argsort(order)[images], **joined,
    ), order  # fmt: skip
