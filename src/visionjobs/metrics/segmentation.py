"""Segmentation metrics from ONE matrix of pixel counts, which adds up over batches and workers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from visionjobs.metrics.class_mappings import ClassMapping, mappings_for

Counts = dict[str, Tensor]
Matrix = npt.NDArray[np.int64]

BINS = 10
IGNORED = -100
"""In targets: a pixel that has no part in the loss."""

RATIOS = ("accuracy", "iou", "dice", "precision", "recall")


def new_counts(num_classes: int, device: torch.device | str) -> Counts:
    """Zeros to accumulate into. Sum each tensor over the workers (all-reduce, SUM) before making a result of them.

    `confusion` int64 [K, K], pixels by truth (rows) and prediction (columns); `nll_sum` float64 [] in nats, over
    `nll_pixels` int64 [] pixels; `images` int64 [].
    """
    return {
        "confusion": torch.zeros((num_classes, num_classes), dtype=torch.int64, device=device),
        "nll_sum": torch.zeros((), dtype=torch.float64, device=device),
        "nll_pixels": torch.zeros((), dtype=torch.int64, device=device),
        "images": torch.zeros((), dtype=torch.int64, device=device),
    }


@torch.no_grad()
def update(counts: Counts, logits: Tensor, masks: Tensor, targets: Tensor) -> None:
    """Add a batch to `counts`, in place, on the device and without waiting for it.

    logits: [b, K, H, W], any floating dtype; masks: uint8 [b, H, W] of classes 0..K-1, all of which are counted;
    targets: int64 [b, H, W], the same with IGNORED where the loss leaves a pixel out. Of classes with equal logits the
    first is the prediction.
    """
    nll, pixels = image_nll(logits, targets)
    predicted = logits.max(1).indices  # on a CPU three times as fast as argmax
    counts["confusion"].add_(confusion(masks, predicted, logits.shape[1]).sum(0))
    counts["nll_sum"].add_(nll.sum())
    counts["nll_pixels"].add_(pixels.sum())
    counts["images"].add_(len(masks))


def confusion(masks: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """int64 [b, K, K] of each image, rows truth, from two [b, H, W] of class numbers, of any integer dtype.

    A true class above K - 1 raises as `occurrences` does.
    """
    cells = torch.add(predicted.long(), masks, alpha=num_classes)
    return occurrences(cells.flatten(1), num_classes * num_classes).view(-1, num_classes, num_classes)


def occurrences(codes: Tensor, number: int) -> Tensor:
    """How often each of 0..number-1 occurs in each row of int64 [b, n]: int64 [b, number].

    On their device and without waiting for it, as bincount would. Another code raises: on the CPU a RuntimeError, on a
    GPU a device-side assertion at the next synchronisation.
    """
    counts = torch.zeros((len(codes), number), dtype=torch.int64, device=codes.device)
    return counts.scatter_add_(1, codes, counts.new_ones(()).expand_as(codes))


def image_nll(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each image the sum of -ln(probability of the true class) in nats, float64 [b], and of how many pixels.

    The log-softmax is taken in float32, the sum in float64.
    """
    nll = F.cross_entropy(logits.float(), targets, reduction="none", ignore_index=IGNORED)
    return nll.flatten(1).sum(1, dtype=torch.float64), (targets != IGNORED).flatten(1).sum(1)


@dataclass(frozen=True)
class ClassScores:
    """One class. With TP, FP, FN its true positive, false positive and false negative pixels, and 0/0 being None:

    iou = TP / (TP + FP + FN); dice = 2 TP / (2 TP + FP + FN); precision = TP / (TP + FP): None where the class is never
    predicted; recall = TP / (TP + FN), which is also the class's pixel accuracy. All are None for a class without
    pixels (`pixels`, of the truth, is 0): nothing was measured, even if it was predicted.
    """

    accuracy: float | None
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None
    pixels: int


def class_scores(matrix: Matrix) -> list[ClassScores]:
    """Of each of the K classes, from int64 [K, K] or [K, K + 1]: the last column holds predictions of no class."""
    scores = []
    for k in range(len(matrix)):
        hits, pixels, predicted = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        if not pixels:
            scores.append(ClassScores(None, None, None, None, None, 0))
            continue
        recall, precision = hits / pixels, hits / predicted if predicted else None
        iou, dice = hits / (pixels + predicted - hits), 2 * hits / (pixels + predicted)
        scores.append(ClassScores(recall, iou, dice, precision, recall, pixels))
    return scores


def mean(values: Sequence[float | None]) -> float | None:
    """Over those that exist."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def summary(matrix: Matrix, names: Sequence[str]) -> dict[str, Any]:
    """Pixel accuracy, the means over the classes present, and per_class, of a matrix as in `class_scores`.

    fwiou: the mean of the IoUs weighted by the classes' share of the pixels (Long et al., CVPR 2015, section 5).
    """
    scores = class_scores(matrix)
    pixels = int(matrix.sum())
    weighted = [score.iou * score.pixels for score in scores if score.iou is not None]
    return {
        "pixel_accuracy": int(np.trace(matrix)) / pixels if pixels else None,
        "mean_accuracy": mean([score.accuracy for score in scores]),
        "miou": mean([score.iou for score in scores]),
        "mean_dice": mean([score.dice for score in scores]),
        "fwiou": math.fsum(weighted) / pixels if pixels else None,
        "pixels": pixels,
        "per_class": {name: vars(score).copy() for name, score in zip(names, scores, strict=True)},
    }


def folded(matrices: Matrix, mapping: ClassMapping) -> Matrix:
    """int64 [..., K, K] -> [..., J, J + 1]: pixels whose true class is ignored are left out; a prediction of an ignored
    class on one that is not goes to the last column, and so is a miss."""
    last = len(mapping.names)
    fold = np.zeros((len(mapping.numbers), last + 1), np.int64)
    fold[np.arange(len(fold)), [last if j is None else j for j in mapping.numbers]] = 1
    return np.asarray(fold[:, :last].T @ matrices @ fold)


def iou_bins(per_class: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Classes by IoU in BINS bins of equal width, the lower bound included (and 1 in the last).

    Of each: low, high, classes (their number), and the mean precision and recall of those that have one.
    """
    binned: list[list[Mapping[str, Any]]] = [[] for _ in range(BINS)]
    edges = [k / BINS for k in range(1, BINS)]
    for scores in per_class.values():
        if scores["iou"] is not None:
            binned[bisect_right(edges, scores["iou"])].append(scores)
    return [
        {"low": k / BINS, "high": (k + 1) / BINS, "classes": len(classes)}
        | {key: mean([scores[key] for scores in classes]) for key in ("precision", "recall")}
        for k, classes in enumerate(binned)
    ]


@dataclass(frozen=True)
class SegmentationResult:
    """The numbers of one model on one split. None means "does not exist", never 0.

    matrix: int64 [K, K]; names: K; loss: the mean over the pixels of -ln(probability of the true class), in nats, None
    where that is not finite; images: their number.
    """

    matrix: Matrix
    names: tuple[str, ...]
    loss: float | None
    images: int

    @classmethod
    def from_counts(cls, counts: Counts, class_names: Sequence[str]) -> SegmentationResult:
        """From `counts` summed over all batches and workers; this is where the host waits for the device."""
        matrix = counts["confusion"].cpu().numpy()
        if len(class_names) != len(matrix) or len(set(class_names)) != len(matrix):
            raise ValueError(f"expected {len(matrix)} different class names, got {list(class_names)}")
        pixels = int(counts["nll_pixels"])
        loss = float(counts["nll_sum"]) / pixels if pixels else math.nan
        return cls(matrix, tuple(class_names), loss if math.isfinite(loss) else None, int(counts["images"]))

    def to_dict(self) -> dict[str, Any]:
        """The `metrics` object of metrics.json: plain values, None for what does not exist."""
        whole = summary(self.matrix, self.names)
        return {
            "loss": self.loss,
            **whole,
            "images": self.images,
            "iou_bins": iou_bins(whole["per_class"]),
            **{
                key: summary(folded(self.matrix, mapping), mapping.names)
                for key, mapping in mappings_for(self.names).items()
            },
            "confusion_matrix": self.matrix.tolist(),
        }
