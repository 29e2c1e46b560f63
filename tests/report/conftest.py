"""Runs as their folders would tell them, with numbers that come from real metrics over drawn predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from visionjobs.jobfile import parse_job
from visionjobs.metrics.classification import ClassificationResult, new_counts, update
from visionjobs.metrics.classification_samples import sample_metrics
from visionjobs.mistakes import chosen_mistakes
from visionjobs.predictions import Predictions
from visionjobs.report.summary import RunSummary
from visionjobs.sample_images import SampleImages

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


def drawn_predictions(names: Sequence[str], n: int, absent: Sequence[int] = (), strength: float = 3.0) -> Predictions:
    """n samples dealt to the classes in turn; the logits are noise and `strength` for the true class."""
    k = len(names)
    labels = np.array([i for i in range(k) if i not in absent])[np.arange(n) % (k - len(absent))]
    logits = np.random.default_rng(0).normal(size=(n, k)) + strength * np.eye(k)[labels]
    paths = tuple(f"photos/{row:05}.jpg" for row in range(n))
    return Predictions("val", tuple(names), paths, labels.astype(np.int64), logits.astype(np.float32))


def evaluated(predictions: Predictions) -> dict[str, Any]:
    """What every run has: counts, and what is made of them."""
    counts = new_counts(len(predictions.classes), "cpu")
    update(counts, torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels))
    return ClassificationResult.from_counts(counts, predictions.classes).to_dict()


def drawn_dataset(predictions: Predictions) -> dict[str, Any]:
    """A manifest with four training images for each validation image, and one more of the first class."""
    val = np.bincount(predictions.labels, minlength=len(predictions.classes)).tolist()
    train = [4 * number + (at == 0) for at, number in enumerate(val)]
    counts = {
        split: dict(zip(predictions.classes, numbers, strict=True))
        for split, numbers in (("train", train), ("val", val))
    }
    return {"name": "wildlife", "version": "3f9c2ab41d77", "classes": list(predictions.classes), "size": [24, 32],
            "counts": counts}  # fmt: skip


def drawn_samples(predictions: Predictions, copies: int) -> SampleImages:
    """Images of noise: those of the mistakes, and with copies two originals and their copies."""
    draw = np.random.default_rng(1)
    index, originals = chosen_mistakes(predictions), 2 if copies else 0

    def images(*shape: int) -> npt.NDArray[np.uint8]:
        return draw.integers(0, 256, (*shape, 24, 32, 3), dtype=np.uint8)

    labels = np.arange(originals, dtype=np.int64) % len(predictions.classes)
    return SampleImages(index, images(len(index)), images(originals), labels, images(originals, max(1, copies)))


def drawn_features(predictions: Predictions) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Numbers of features, and embeddings with a cloud a class."""
    draw = np.random.default_rng(2)

    def cloud(dimensions: int) -> npt.NDArray[np.float32]:
        centres = 9 * draw.normal(size=(len(predictions.classes), dimensions))
        return (centres[predictions.labels] + draw.normal(size=(len(predictions), dimensions))).astype(np.float32)

    embeddings = {"train_2d": cloud(2), "val_2d": cloud(2), "val_3d": cloud(3), "train_labels": predictions.labels,
                  "val_labels": predictions.labels}  # fmt: skip
    scores = {"n": len(predictions), "silhouette": 0.2345, "knn_accuracy": 0.8125}
    embedded = {"n": len(predictions), "pca": 50, "perplexity": 30.0, "silhouette": 0.3456, "knn_accuracy": 0.7125}
    shift = {
        name: {"train_n": 80, "val_n": 20, "dimensions": 50, "cross_entropy": 1.6, "entropy": -0.2,
               "divergence": 0.1 + at / 50, "chance": 0.09}
        for at, name in enumerate(predictions.classes)
    }  # fmt: skip
    numbers = {
        "layer": "fc", "dimensions": 512, "seed": 0, "pca": 50, "perplexity": 30.0, "neighbours": 5,
        "train": scores | {"tsne_2d": embedded},
        "val": scores | {"tsne_2d": embedded, "tsne_3d": embedded | {"silhouette": -0.0456}},
        "shift": {"per_class": shift},
    }  # fmt: skip
    return numbers, embeddings


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunSummary]:
    """A finished run; every part may be replaced.

    With counted metrics only or, `full`, with all that a run keeps. Predictions are those that the metrics were made
    of; `copies` are augmented ones.
    """

    def make(
        names: Sequence[str] = ANIMALS, epochs: int = 10, smoothing: float = 0.1, n: int = 200,
        absent: Sequence[int] = (), strength: float = 3.0, full: bool = False, copies: int = 0, **parts: Any,
    ) -> RunSummary:  # fmt: skip
        predictions = drawn_predictions(names, n, absent, strength)
        values = evaluated(predictions)
        spec = parse_job(JOB % (smoothing, epochs), "resnet.yaml", "resnet").model_dump(mode="json")
        if copies:
            spec["data"] |= {"augment": "wildlife", "copies": copies}
        metrics = {"schema": 1, "run": "resnet-20260504-101112-ab12", "job": "resnet", "task": "classification",
                   "split": "val", "metrics": values}  # fmt: skip
        given = {
            "run": "resnet-20260504-101112-ab12",
            "job": "resnet",
            "spec": spec,
            "record": RECORD,
            "history": history(epochs, smoothing),
            "metrics": metrics,
        }
        if full:
            numbers, embeddings = drawn_features(predictions)
            values |= sample_metrics(predictions) | {"features": numbers}
            given |= {
                "dataset": drawn_dataset(predictions),
                "predictions": predictions,
                "samples": drawn_samples(predictions, copies),
                "embeddings": embeddings,
            }
        return RunSummary(**(given | parts))

    return make
