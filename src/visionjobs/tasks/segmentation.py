"""Segmentation: one class a pixel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visionjobs.data.class_weights import median_frequency_weights
from visionjobs.data.manifest import Manifest
from visionjobs.metrics import segmentation as metrics
from visionjobs.metrics.boundary import boundary_counts, tolerance
from visionjobs.models.outputs import Outputs, WithAuxiliary, logits_of
from visionjobs.spec import JobSpec
from visionjobs.tasks.base import Completed, Counts, Ended, OnStage, Result, Task
from visionjobs.tasks.segmentation_end import complete

AUXILIARY = 0.5
"""Weight of an auxiliary head's loss, as in torchvision's reference training."""

CODES = 256


class Segmentation(Task):
    """outputs: logits [b, K, H, W] of any floating dtype; targets: masks uint8 [b, H, W] of class numbers.

    Each worker's loss is the mean over its own pixels, and the workers' gradients are averaged: with class weights or
    ignored classes that differs a little from the mean over all pixels of the global batch.
    """

    def __init__(self, spec: JobSpec, dataset: Manifest) -> None:
        super().__init__(spec, dataset)
        weighted = spec.train.class_weights == "median_frequency"
        self._weights = torch.tensor(median_frequency_weights(dataset)) if weighted else None
        codes = torch.arange(CODES)
        for name in spec.train.ignore:
            codes[self.classes.index(name)] = metrics.IGNORED
        self._codes = codes

    def loss(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the logits, and half of an auxiliary head's."""
        wanted = self._wanted(targets)
        main = self._cross_entropy(logits_of(outputs), wanted)
        if not isinstance(outputs, WithAuxiliary):
            return {"loss": main, "main": main}
        auxiliary = self._cross_entropy(outputs.auxiliary, wanted)
        return {"loss": main + AUXILIARY * auxiliary, "main": main, "auxiliary": auxiliary}

    def _cross_entropy(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """The mean as torch's cross_entropy takes it, but 0 where no pixel has a weight: torch has 0/0 there."""
        if self._weights is not None and self._weights.device != logits.device:
            self._weights = self._weights.to(logits.device)
        summed = F.cross_entropy(
            logits.float(), wanted, self._weights, ignore_index=metrics.IGNORED, reduction="sum",
            label_smoothing=self.spec.train.label_smoothing,
        )  # fmt: skip
        counted = wanted != metrics.IGNORED
        if self._weights is None:
            return summed / counted.sum().clamp(min=1)
        weight = torch.where(counted, self._weights[wanted.clamp(min=0)], 0.0).sum()
        return summed / weight.clamp(min=torch.finfo(weight.dtype).tiny)

    def _wanted(self, masks: Tensor) -> Tensor:
        """int64 [b, H, W], with IGNORED where the loss leaves a pixel out."""
        if not self.spec.train.ignore:
            return masks.long()
        if self._codes.device != masks.device:
            self._codes = self._codes.to(masks.device)
        return self._codes[masks.long()]

    def train_counts(self, device: torch.device) -> Counts:
        """Sums over the samples of an epoch, and their confusion matrix."""
        sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in ("loss", "n")}
        return sums | metrics.new_counts(len(self.classes), device)

    def count_train(self, counts: Counts, terms: dict[str, Tensor], outputs: Outputs, targets: Tensor) -> None:
        """Weight the batch means by the batch size."""
        counts["loss"].add_(terms["loss"].detach(), alpha=len(targets))
        counts["n"].add_(len(targets))
        metrics.update(counts, logits_of(outputs).detach(), targets, self._wanted(targets))

    def train_row(self, counts: Counts) -> dict[str, float | None]:
        """Of the samples seen in training mode, as they were augmented. train_loss: what was optimised; train_ce: as
        val_loss, without weights, smoothing and auxiliary head."""
        found = self.result(counts).to_dict()
        return {
            "train_loss": float(counts["loss"]) / max(float(counts["n"]), 1.0),
            "train_ce": found["loss"],
            "train_miou": found["miou"],
            "train_pixel_accuracy": found["pixel_accuracy"],
        }

    def eval_counts(self, device: torch.device) -> Counts:
        """Confusion matrix and sums."""
        return metrics.new_counts(len(self.classes), device)

    def count_eval(self, counts: Counts, outputs: Tensor, targets: Tensor) -> None:
        """Add an evaluated batch."""
        metrics.update(counts, outputs, targets, self._wanted(targets))

    kept = ("confusions", "nll_sums", "nll_pixels", "boundaries", "masks")

    def keep(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of each image what visionjobs/mask_predictions.py tells of."""
        predicted, classes = outputs.max(1).indices, len(self.classes)
        nll_sums, nll_pixels = metrics.image_nll(outputs, self._wanted(targets))
        masks = predicted.to(torch.uint8)
        return {
            "confusions": metrics.confusion(targets, predicted, classes),
            "nll_sums": nll_sums,
            "nll_pixels": nll_pixels,
            "boundaries": boundary_counts(targets, masks, classes, tolerance(targets.shape[1], targets.shape[2])),
            "masks": masks,
        }

    def complete(self, ended: Ended, on_stage: OnStage) -> Completed:
        """Predictions, and the images that the report shows (tasks/segmentation_end.py)."""
        return complete(self.spec, ended, on_stage)

    def result(self, counts: Counts) -> Result:
        """mIoU, pixel accuracy, confusion matrix, ..."""
        return metrics.SegmentationResult.from_counts(counts, self.classes)

    def eval_row(self, metrics: dict[str, Any]) -> dict[str, float | None]:
        """Validation loss (plain cross-entropy), mIoU and pixel accuracy."""
        return {
            "val_loss": metrics["loss"],
            "val_miou": metrics["miou"],
            "val_pixel_accuracy": metrics["pixel_accuracy"],
        }

    def score(self, row: dict[str, Any]) -> float | None:
        """Validation mIoU."""
        value: float | None = row.get("val_miou")
        return value
