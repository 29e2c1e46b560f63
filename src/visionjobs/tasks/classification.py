"""Classification: one label an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visionjobs.metrics import classification as metrics
from visionjobs.models.outputs import Outputs, logits_of
from visionjobs.tasks.base import Completed, Counts, Ended, OnStage, Result, Task
from visionjobs.tasks.classification_end import complete
from visionjobs.theory import label_smoothing_terms


class Classification(Task):
    """outputs: logits [N, K] of any floating dtype; targets: class indices [N] int64."""

    def loss(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy with label smoothing, its two terms apart."""
        logits = logits_of(outputs).float()
        cross_entropy, uniform = label_smoothing_terms(logits, targets, self.spec.train.label_smoothing)
        return {"loss": cross_entropy + uniform, "ce": cross_entropy, "uniform": uniform}

    def train_counts(self, device: torch.device) -> Counts:
        """Sums over the samples of an epoch."""
        return {
            name: torch.zeros((), dtype=torch.float64, device=device)
            for name in ("loss", "ce", "uniform", "correct", "n")
        }

    def count_train(self, counts: Counts, terms: dict[str, Tensor], outputs: Outputs, targets: Tensor) -> None:
        """Weight the batch means by the batch size."""
        n = targets.shape[0]
        for name, term in terms.items():
            counts[name].add_(term.detach(), alpha=n)
        counts["correct"].add_((logits_of(outputs).detach().argmax(1) == targets).sum())
        counts["n"].add_(n)

    def train_row(self, counts: Counts) -> dict[str, float | None]:
        """Means over the samples seen in training mode, augmented ones included."""
        n = max(float(counts["n"]), 1.0)
        return {
            "train_loss": float(counts["loss"]) / n,
            "train_ce": float(counts["ce"]) / n,
            "train_uniform": float(counts["uniform"]) / n,
            "train_accuracy": float(counts["correct"]) / n,
        }

    def eval_counts(self, device: torch.device) -> Counts:
        """Confusion matrix and sums."""
        return metrics.new_counts(len(self.classes), device)

    def count_eval(self, counts: Counts, outputs: Tensor, targets: Tensor) -> None:
        """Add an evaluated batch."""
        metrics.update(counts, outputs, targets)

    kept = ("logits",)

    def keep(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The logits, float32 [b, K]."""
        return {"logits": outputs.float()}

    def complete(self, ended: Ended, on_stage: OnStage) -> Completed:
        """Predictions, sample images and features (tasks/classification_end.py)."""
        return complete(self.spec, ended, on_stage)

    def result(self, counts: Counts) -> Result:
        """Accuracy, F1, confusion matrix, ..."""
        return metrics.ClassificationResult.from_counts(counts, self.classes)

    def eval_row(self, metrics: dict[str, Any]) -> dict[str, float | None]:
        """Validation loss (plain cross-entropy, without smoothing) and accuracy."""
        return {"val_loss": metrics["nll"], "val_accuracy": metrics["accuracy"]}

    def score(self, row: dict[str, Any]) -> float | None:
        """Validation accuracy."""
        value: float | None = row.get("val_accuracy")
        return value
