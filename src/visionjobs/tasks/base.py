"""What the training loop asks of a task. Everything here is counted on the device and summed over the workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from visionjobs.data.cache import Split
from visionjobs.data.manifest import Manifest
from visionjobs.models.outputs import Outputs
from visionjobs.spec import JobSpec

Counts = dict[str, Tensor]
"""Sums and counts, whose sum over samples, batches and workers is exact: never averages."""


OnStage = Callable[[str], None]
"""Told what is being done, in a few words."""


@dataclass(frozen=True)
class Ended:
    """What an evaluation left.

    dataset: that of the training, with the classes in the model's order; split, samples: what was evaluated, its labels
    or masks in that order; metrics: from its counts; kept: name -> [n, ...] in the order of the samples; train: the
    training split, None where it has no say; features: "train" and "val" -> "index" and "features"
    (training/evaluation.py), {} without a layer for them.
    """

    dataset: Manifest
    split: str
    samples: Split
    metrics: dict[str, Any]
    kept: dict[str, npt.NDArray[Any]]
    train: Split | None = None
    features: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Completed:
    """metrics: the `metrics` object of metrics.json; files: key relative to the run folder -> contents."""

    metrics: dict[str, Any]
    files: dict[str, bytes]


class Result(Protocol):
    """Metrics as numbers, tables and figures."""

    def to_dict(self) -> dict[str, Any]:
        """The `metrics` object of metrics.json."""


class Task(ABC):
    """One kind of learning problem. targets: of a batch, as in data/loader.py."""

    def __init__(self, spec: JobSpec, dataset: Manifest) -> None:
        self.spec = spec
        self.dataset = dataset
        self.classes = dataset.classes

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        """Differentiable scalars: 'loss', and the terms that it is made of."""

    @abstractmethod
    def train_counts(self, device: torch.device) -> Counts:
        """Zeroed counts for the training rows of an epoch."""

    @abstractmethod
    def count_train(self, counts: Counts, terms: dict[str, Tensor], outputs: Outputs, targets: Tensor) -> None:
        """Add a training batch, in place, without waiting for the device."""

    @abstractmethod
    def train_row(self, counts: Counts) -> dict[str, float | None]:
        """The summed counts as the training columns of a history row."""

    @abstractmethod
    def eval_counts(self, device: torch.device) -> Counts:
        """Zeroed counts for an evaluation."""

    @abstractmethod
    def count_eval(self, counts: Counts, outputs: Tensor, targets: Tensor) -> None:
        """Add an evaluated batch, in place, without waiting for the device."""

    kept: tuple[str, ...] = ()
    """Names of what `keep` keeps."""

    @abstractmethod
    def keep(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is kept of each sample of a batch in the last evaluation of a run: name -> [b, ...], on the device."""

    @abstractmethod
    def complete(self, ended: Ended, on_stage: OnStage) -> Completed:
        """All of the task's own that a run folder holds: the whole metrics, and the files of predictions/."""

    @abstractmethod
    def result(self, counts: Counts) -> Result:
        """The summed counts as metrics."""

    @abstractmethod
    def eval_row(self, metrics: dict[str, Any]) -> dict[str, float | None]:
        """The validation columns of a history row, from `Result.to_dict()`."""

    @abstractmethod
    def score(self, row: dict[str, Any]) -> float | None:
        """By which the best checkpoint is chosen (higher is better), from a history row."""
