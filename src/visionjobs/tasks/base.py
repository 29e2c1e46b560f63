"""What the training loop asks of a task. Everything here is counted on the device and summed over the workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from visionjobs.spec import JobSpec

Counts = dict[str, Tensor]
"""Sums and counts, whose sum over samples, batches and workers is exact: never averages."""


class Result(Protocol):
    """Metrics as numbers, tables and figures."""

    def to_dict(self) -> dict[str, Any]:
        """The `metrics` object of metrics.json."""


class Task(ABC):
    """One kind of learning problem."""

    def __init__(self, spec: JobSpec, classes: list[str]) -> None:
        self.spec = spec
        self.classes = classes

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Differentiable scalars: 'loss', and the terms that it is the sum of."""

    @abstractmethod
    def train_counts(self, device: torch.device) -> Counts:
        """Zeroed counts for the training rows of an epoch."""

    @abstractmethod
    def count_train(self, counts: Counts, terms: dict[str, Tensor], outputs: Tensor, targets: Tensor) -> None:
        """Add a training batch, in place, without waiting for the device."""

    @abstractmethod
    def train_row(self, counts: Counts) -> dict[str, float]:
        """The summed counts as the training columns of a history row."""

    @abstractmethod
    def eval_counts(self, device: torch.device) -> Counts:
        """Zeroed counts for an evaluation."""

    @abstractmethod
    def count_eval(self, counts: Counts, outputs: Tensor, targets: Tensor) -> None:
        """Add an evaluated batch, in place, without waiting for the device."""

    @abstractmethod
    def result(self, counts: Counts) -> Result:
        """The summed counts as metrics."""

    @abstractmethod
    def eval_row(self, metrics: dict[str, Any]) -> dict[str, float | None]:
        """The validation columns of a history row, from `Result.to_dict()`."""

    @abstractmethod
    def score(self, row: dict[str, Any]) -> float | None:
        """By which the best checkpoint is chosen (higher is better), from a history row."""
