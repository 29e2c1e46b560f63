"""Classification metrics from counts that add up over batches and workers: an average of averages never occurs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visionjobs.metrics import calibration
from visionjobs.metrics.calibration import BINS, Bin

Counts = dict[str, Tensor]


def new_counts(num_classes: int, device: torch.device | str) -> Counts:
    """Zeros to accumulate into. Sum each tensor over the workers (all-reduce, SUM) before making a result of them.

    Returns `confusion` int64 [K, K] (rows: truth, columns: prediction), `nll_sum` float64 [] in nats, `n` int64 [],
    and of the samples in each of the bins of `metrics/calibration.py`: `bin_n` int64 [15], `bin_correct` int64 [15] and
    `bin_confidence` float64 [15], the sum of their confidences.
    """
    return {
        "confusion": torch.zeros((num_classes, num_classes), dtype=torch.int64, device=device),
        "nll_sum": torch.zeros((), dtype=torch.float64, device=device),
        "n": torch.zeros((), dtype=torch.int64, device=device),
        "bin_n": torch.zeros(BINS, dtype=torch.int64, device=device),
        "bin_correct": torch.zeros(BINS, dtype=torch.int64, device=device),
        "bin_confidence": torch.zeros(BINS, dtype=torch.float64, device=device),
    }


@torch.no_grad()
def update(counts: Counts, logits: Tensor, labels: Tensor) -> None:
    """Add a batch to `counts`, in place, on the device and without waiting for it.

    `logits`: [b, K], any floating dtype, finite or not; the log-softmax is taken in float64. `labels`: int64 [b] in
    0..K-1, another value raises (on the CPU an IndexError, on a GPU a device-side assertion at the next
    synchronisation). Of classes with equal logits the first is the prediction; its probability is the confidence.
    """
    num_classes = counts["confusion"].shape[0]
    if logits.ndim != 2 or logits.shape[1] != num_classes or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits [b, {num_classes}] and labels [b], got {list(logits.shape)} and {list(labels.shape)}"
        )
    predicted = logits.argmax(dim=1)
    cells = labels * num_classes + predicted
    # index_add_ rather than bincount, which makes the host wait for the largest value
    counts["confusion"].view(-1).index_add_(0, cells, torch.ones_like(cells))
    log_probabilities = F.log_softmax(logits.double(), dim=1)
    counts["nll_sum"].add_(F.nll_loss(log_probabilities, labels, reduction="sum"))
    counts["n"].add_(labels.numel())
    confidence = log_probabilities.amax(dim=1).exp()
    bins = _bin_numbers(confidence)
    counts["bin_n"].index_add_(0, bins, torch.ones_like(bins))
    counts["bin_correct"].index_add_(0, bins, (predicted == labels).to(bins.dtype))
    counts["bin_confidence"].index_add_(0, bins, confidence)


def _bin_numbers(confidence: Tensor) -> Tensor:
    """As `calibration.bin_numbers`, with edges made on the device: a copy of them would make the host wait."""
    edges = torch.arange(1, BINS, dtype=torch.float64, device=confidence.device) / BINS
    return torch.bucketize(confidence, edges + calibration.ROUNDING)


@dataclass(frozen=True)
class ClassScores:
    """One class. With TP, FP, FN its true positives, false positives and false negatives, and 0/0 being None:

    precision = TP / (TP + FP): None where the class is never predicted; recall = TP / (TP + FN);
    f1 = 2 TP / (2 TP + FP + FN): 0 where the class is never predicted (scikit-learn's zero_division=0).
    All three are None for a class without samples (support 0): nothing was measured, even if it was predicted.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class ClassificationResult:
    """The numbers of one model on one split. None means "does not exist", never 0; without samples all are None.

    Macro means run over the classes that have samples, as scikit-learn's do with `labels=` those classes;
    `f1_weighted` weighs by support. `nll` is the mean of -log(probability of the true class) in nats, None where
    that is not finite. `ece`, from 15 bins of equal width, and `reliability`, these bins: metrics/calibration.py.
    `confusion_matrix` [K][K]: rows truth, columns prediction, both in the order of `per_class`.
    """

    accuracy: float | None
    balanced_accuracy: float | None
    f1_macro: float | None
    f1_weighted: float | None
    nll: float | None
    ece: float | None
    per_class: Mapping[str, ClassScores]
    confusion_matrix: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]

    @classmethod
    def from_counts(cls, counts: Counts, class_names: Sequence[str]) -> ClassificationResult:
        """From `counts` summed over all batches and workers; this is where the host waits for the device."""
        matrix = counts["confusion"].tolist()
        if len(class_names) != len(matrix) or len(set(class_names)) != len(matrix):
            raise ValueError(f"expected {len(matrix)} different class names, got {list(class_names)}")
        n = int(counts["n"])
        nll = _ratio(float(counts["nll_sum"]), n)
        scores = {name: _class_scores(matrix, i) for i, name in enumerate(class_names)}
        bins = calibration.equal_bins(
            *(counts[name].cpu().numpy() for name in ("bin_n", "bin_correct", "bin_confidence"))
        )
        present = [score for score in scores.values() if score.support]
        recalls = [score.recall for score in present if score.recall is not None]
        f1s = [score.f1 for score in present if score.f1 is not None]
        return cls(
            accuracy=_ratio(sum(matrix[i][i] for i in range(len(matrix))), n),
            balanced_accuracy=_ratio(math.fsum(recalls), len(recalls)),
            f1_macro=_ratio(math.fsum(f1s), len(f1s)),
            f1_weighted=_ratio(math.fsum(f1 * s.support for f1, s in zip(f1s, present, strict=True)), n),
            nll=nll if nll is not None and math.isfinite(nll) else None,
            ece=calibration.ece(bins),
            per_class=scores,
            confusion_matrix=tuple(tuple(row) for row in matrix),
            reliability=bins,
        )

    def to_dict(self) -> dict[str, Any]:
        """The `metrics` object of metrics.json: plain values, None for what does not exist."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "f1_macro": self.f1_macro,
            "f1_weighted": self.f1_weighted,
            "nll": self.nll,
            "ece": self.ece,
            "per_class": {name: vars(scores).copy() for name, scores in self.per_class.items()},
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "calibration": {
                "n": sum(one.n for one in self.reliability),
                "bins": BINS,
                "reliability": [one.to_dict() for one in self.reliability],
            },
        }


def _class_scores(matrix: list[list[int]], i: int) -> ClassScores:
    true_positives, support, predicted = matrix[i][i], sum(matrix[i]), sum(row[i] for row in matrix)
    if not support:
        return ClassScores(precision=None, recall=None, f1=None, support=0)
    return ClassScores(
        precision=_ratio(true_positives, predicted),
        recall=true_positives / support,
        f1=2 * true_positives / (support + predicted),  # TP + FN = support, TP + FP = predicted
        support=support,
    )


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
