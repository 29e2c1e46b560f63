"""The few images and masks that a segmentation run's report shows: `predictions/samples.npz`.

With them a report can be drawn without the dataset. Which images they are is a pure function of the predictions, so
that the report finds the same ones again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_fields, unpack_fields
from visionjobs.mask_predictions import MaskPredictions

KEY = "predictions/samples.npz"

RANKED = 3
"""Best, median and worst images: so many of each."""

WORST_CLASSES, IMAGES_A_CLASS = 3, 3
LOW_IOU = 0.5
"""Classes with an IoU above it are none of the worst."""

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scenes:
    """Images are uint8 RGB [.., H, W, 3], masks uint8 [.., H, W] class numbers, at the size that the model was fed.

    index: int64 [m], rows of the run's MaskPredictions, sorted, without repeats; images, truths [m, ..]: those samples.
    example_classes: int64 [e], at most two entries a class; examples [e, H, W]: training masks in which they occur;
    example_images [e, H, W, 3]. originals [r, ..], original_masks: training images; augmented [r, copies, ..],
    augmented_masks: each one as training saw it (r = 0 without augmentation).
    """

    index: Indices
    images: Pixels
    truths: Pixels
    example_classes: Indices
    example_images: Pixels
    examples: Pixels
    originals: Pixels
    original_masks: Pixels
    augmented: Pixels
    augmented_masks: Pixels

    def place(self, row: int) -> int | None:
        """Where a row of the predictions is in `images` and `truths`, None where it was not kept."""
        at = int(np.searchsorted(self.index, row))
        return at if at < len(self.index) and self.index[at] == row else None

    def to_npz(self) -> bytes:
        """Compressed arrays, one a field."""
        return pack_fields(self)

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> Scenes:
        """What `to_npz` wrote. Raises UserError naming `source` for anything else."""
        return unpack_fields(cls, data, source, "scenes")


def image_ious(predictions: MaskPredictions) -> npt.NDArray[np.float64]:
    """mIoU of each image, float64 [n]: the mean over the classes that have pixels in it."""
    confusions = predictions.confusions
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    truth = confusions.sum(axis=2)
    union = truth + confusions.sum(axis=1) - hits
    present = truth > 0
    ious = np.where(present, hits / np.maximum(union, 1), 0.0)
    return np.asarray(ious.sum(axis=1) / np.maximum(present.sum(axis=1), 1))


def ranked(predictions: MaskPredictions) -> dict[str, Indices]:
    """ "best", "median" and "worst" -> rows of the images by their own mIoU, best first; each image once."""
    order = np.argsort(-image_ious(predictions), kind="stable")
    number = min(RANKED, len(order) // 3)
    if not number:  # fewer images than kinds
        kinds = ("best", "worst") if len(order) == 2 else ("best",)
        return {kind: order[at : at + 1] for at, kind in enumerate(kinds[: len(order)])}
    start = (len(order) - number) // 2
    return {"best": order[:number], "median": order[start : start + number], "worst": order[-number:]}


def worst_classes(predictions: MaskPredictions) -> dict[int, Indices]:
    """Class number -> rows of the images with most of its pixels, most first: the classes with the lowest IoU.

    At most WORST_CLASSES that have pixels and an IoU of at most LOW_IOU; of equal ones the one with more pixels.
    """
    matrix = predictions.confusions.sum(axis=0)
    hits, truth = np.diagonal(matrix), matrix.sum(axis=1)
    ious = hits / np.maximum(truth + matrix.sum(axis=0) - hits, 1)
    low = [int(k) for k in np.lexsort((-truth, ious)) if truth[k] and ious[k] <= LOW_IOU]
    pixels = predictions.confusions.sum(axis=2)
    chosen = {}
    for k in low[:WORST_CLASSES]:
        order = np.argsort(-pixels[:, k], kind="stable")[:IMAGES_A_CLASS]
        chosen[k] = order[pixels[order, k] > 0]
    return chosen


def shown(predictions: MaskPredictions) -> Indices:
    """All rows that the report shows, sorted, each once."""
    rows = [*ranked(predictions).values(), *worst_classes(predictions).values()]
    return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)
