"""AP50 of a detector and of its resamples over images: the percentile bootstrap of detection. Numpy alone.

Images are what is drawn at random, not boxes: those of one image stand and fall together. Nothing is matched anew in a
resample, since an image's boxes are matched within it: an image that is drawn twice counts each of its boxes twice.
Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.boxes import MAX_DETS, Bools, Detections, Floats, Ints, Truth
from visionjobs.detection_curves import RECALLS
from visionjobs.metrics.bootstrap import LEVEL, RESAMPLES, Difference
from visionjobs.metrics.box_matching import match, ranks


@dataclass(frozen=True)
class Matched:
    """A detector's boxes on I images, of the N that are neither ignored nor beyond an image's first 100 of a class.

    boxes: int64 [I, K], true boxes of each image and class, without crowd. By class, and in it by falling confidence:
    images int64 [N], their images; right bool [N], whether each is matched with a true box; starts int64 [K + 1], where
    each class begins, and N.
    """

    boxes: Ints
    images: Ints
    right: Bools
    starts: Ints

    @property
    def errors(self) -> Ints:
        """Wrong and missing boxes of each image: int64 [I]."""
        images = len(self.boxes)
        wrong = np.bincount(self.images[~self.right], minlength=images)
        found = np.bincount(self.images[self.right], minlength=images)
        return np.asarray(wrong + self.boxes.sum(axis=1) - found)


def matched(truth: Truth, detections: Detections, *, iou: float = 0.5) -> Matched:
    """Match each image's detections as COCOeval does: greedily within a class, from this IoU on, 100 of a class."""
    classes, plain = len(truth.classes), truth.where(~truth.crowd)
    kept = detections.where(ranks(detections.images * classes + detections.categories, detections.scores) < MAX_DETS)
    found = match(truth, kept, iou=iou, max_dets=len(kept))
    order = np.lexsort((kept.images, -kept.scores, kept.categories))
    order = order[~found.ignored[order]]
    cells = np.bincount(plain.images * classes + plain.categories, minlength=len(truth.image_ids) * classes)
    return Matched(
        boxes=cells.reshape(-1, classes),
        images=kept.images[order],
        right=found.right[order],
        starts=np.searchsorted(kept.categories[order], np.arange(classes + 1)),
    )


class AveragePrecision:
    """AP50 of a detector for any weights of its images. What does not hang on the weights is worked out once."""

    def __init__(self, boxes: Matched) -> None:
        self._boxes = boxes.boxes.astype(np.float64)  # counts, exact; BLAS has no integers
        self._images = boxes.images
        self._right = np.flatnonzero(boxes.right)
        self._before = boxes.starts[:-1]
        """Detections before each class."""
        classes = np.repeat(np.arange(len(self._before)), np.diff(boxes.starts))[self._right]
        self._classes = classes
        self._first = np.searchsorted(classes, np.arange(len(self._before)))
        """Right ones before each class."""
        self._offset = 2.0 * (len(self._before) - classes)
        """More for an earlier class than any precision: a running maximum from the end never reaches beyond a class."""

    def __call__(self, times: Ints | None = None) -> float | None:
        """Mean over the classes that have true boxes; each image as often as `times` says, int64 [I], or once.

        None without true boxes. Of detections with equal confidence in one image, repeated ones follow each other,
        which is one of the orders that COCOeval might take.
        """
        times = np.ones(len(self._boxes), np.int64) if times is None else times
        true = times @ self._boxes
        present = true > 0
        if not present.any():
            return None
        weights = times[self._images]
        total = np.concatenate([[0], np.cumsum(weights)])
        hits = np.concatenate([[0], np.cumsum(weights[self._right])])
        classes, right = self._classes, self._right
        found = hits[1:] - hits[self._first][classes]
        precision = found / np.maximum(total[right + 1] - total[self._before][classes], 1)
        best = np.maximum.accumulate((precision + self._offset)[::-1])[::-1] - self._offset
        recall = found / np.maximum(true, 1)[classes]
        # the precision at a recall is the best one from the first detection on that reaches it: COCOeval.accumulate
        reached = np.searchsorted(RECALLS, recall, side="right")
        before = np.concatenate([[0], reached[:-1]])
        before[self._first[self._first < len(before)]] = 0
        of_class = np.bincount(classes, weights=(reached - before) * best, minlength=len(true)) / len(RECALLS)
        return float(of_class[present].mean())


def resampled_ap50(boxes: Matched, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """AP50 of each resample, float64 [resamples]; NaN where one has no true boxes. The same images whoever asks.

    A resample of the 34,600 detections of COCO's 5,000 images takes about half a millisecond.
    """
    images, generator = len(boxes.boxes), np.random.default_rng(seed)
    ap50, drawn = AveragePrecision(boxes), np.empty(resamples)
    for number in range(resamples):
        found = ap50(np.bincount(generator.integers(images, size=images), minlength=images))
        drawn[number] = np.nan if found is None else found
    return drawn


def paired_difference(
    a: float | None, b: float | None, drawn_a: Floats, drawn_b: Floats, *, level: float = LEVEL
) -> Difference | None:
    """AP50 of the first detector less that of the second, from both and what `resampled_ap50` made of them.

    None where there are no true boxes. Raises ValueError (different numbers of resamples).
    """
    if drawn_a.shape != drawn_b.shape:
        raise ValueError(f"expected the same resamples twice, got {len(drawn_a)} and {len(drawn_b)}")
    differences: npt.NDArray[np.float64] = drawn_a - drawn_b
    differences = differences[~np.isnan(differences)]
    if a is None or b is None or not len(differences):
        return None
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Difference(a - b, float(low), float(high))
