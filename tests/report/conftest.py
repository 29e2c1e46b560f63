"""Runs as their folders would tell them, with numbers that come from real metrics over drawn predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from visionjobs.jobfile import parse_job
from visionjobs.metrics.classification import ClassificationResult, new_counts, update
from visionjobs.report.summary import RunSummary

JOB = """
task: classification
model: {name: resnet18}
data: {name: wildlife, version: 3f9c2ab41d77}
train: {label_smoothing: %s, epochs: %d}
published:
  accuracy: {value: 0.8102, source: "experiments, question 2, part 3 (c)"}
  f1_macro: {value: 0.8121, source: "experiments, question 2, part 3 (c): 'F1-Score', averaging not stated"}
"""

ANIMALS = (
    "amur_leopard", "amur_tiger", "birds", "black_bear", "brown_bear", "dog", "people", "roe_deer", "sika_deer",
    "wild_boar",
)  # fmt: skip


def attempt(number: int, resumed_from_step: int | None, step: int) -> dict[str, Any]:
    return {
        "number": number, "started": "2026-05-04T10:11:12+00:00", "seconds": 754.0,
        "resumed_from_step": resumed_from_step,
        "code": {"version": "0.1.0", "source": "9f0c11d2a7b3", "commit": "dc1f45b0a1c2"},
        "hardware": {"cpu": "AMD EPYC 9V74", "cpus": 2, "memory_bytes": 24 * 2**30, "libraries": {"torch": "2.14.1"}},
        "workers": 2, "threads": 1, "gpus": 0, "step": step,
        "facts": {"precision": "fp32", "device": "cpu", "samples_per_epoch": 1000, "dropped_per_epoch": 8,
                  "resident": {"train": {"resident": True, "bytes": 150528000, "reason": "it fits"}}},
    }  # fmt: skip


RECORD = {
    "schema": 1, "state": "running", "outcome": "complete", "created": "2026-05-04T10:11:12+00:00",
    "finished": "2026-05-04T10:40:00+00:00", "gpu_hours": 0.0, "image": None,
    "attempts": [attempt(1, None, 120), attempt(2, 93, 310)],
    "changes": {"train.epochs": [5, 10]},
    "notes": ["A note of the record."],
    "warnings": ["the code has changed since attempt 1: the run may not end as it would have"],
}  # fmt: skip


def history(epochs: int, smoothing: float) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(epochs):
        ce, uniform = (1 - smoothing) * 2.3 * math.exp(-epoch / 4), smoothing * (2.1 + epoch / 10)
        rows.append({
            "epoch": epoch, "train_loss": ce + uniform, "train_ce": ce, "train_uniform": uniform,
            "train_accuracy": 1 - 0.9 * math.exp(-epoch / 4), "val_loss": 0.9 + (epoch - 6) ** 2 / 60,
            "val_accuracy": 0.83 - (epoch - 7) ** 2 / max(60, epochs**2), "images_per_second": 28.4 + math.sin(epoch),
            "data_wait_share": 0.31 if epoch == 0 else 0.013, "gpu_utilisation": None,
            "peak_memory_bytes": 3 * 2**29, "seconds": 35.2 + epoch,
            "diagnosis": "data-bound: 31% of the time was spent waiting for data" if epoch == 0 else None,
        })  # fmt: skip
    return rows


def evaluated(names: Sequence[str], n: int, absent: Sequence[int] = ()) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    k = len(names)
    labels = torch.tensor([i for i in range(k) if i not in absent])[torch.arange(n) % (k - len(absent))]
    logits = torch.randn((n, k), generator=generator) + 3 * torch.nn.functional.one_hot(labels, k)
    counts = new_counts(k, "cpu")
    update(counts, logits, labels)
    return ClassificationResult.from_counts(counts, names).to_dict()


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunSummary]:
    """A finished run; every part may be replaced."""

    def make(
        names: Sequence[str] = ANIMALS, epochs: int = 10, smoothing: float = 0.1, n: int = 200,
        absent: Sequence[int] = (), **parts: Any,
    ) -> RunSummary:  # fmt: skip
        metrics = {"schema": 1, "run": "resnet-20260504-101112-ab12", "job": "resnet", "task": "classification",
                   "split": "val", "metrics": evaluated(names, n, absent)}  # fmt: skip
        given = {
            "run": "resnet-20260504-101112-ab12",
            "job": "resnet",
            "spec": parse_job(JOB % (smoothing, epochs), "resnet.yaml", "resnet").model_dump(mode="json"),
            "record": RECORD,
            "history": history(epochs, smoothing),
            "metrics": metrics,
        }
        return RunSummary(**(given | parts))

    return make
