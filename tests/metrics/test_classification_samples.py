"""What the samples' predictions give beside the counts, and that the two never disagree."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.metrics.bootstrap import intervals
from visionjobs.metrics.calibration import adaptive_bins, ece
from visionjobs.metrics.classification import ClassificationResult, new_counts, update
from visionjobs.metrics.classification_samples import sample_metrics
from visionjobs.predictions import Predictions


def predictions(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    n, k = logits.shape
    return Predictions("val", tuple(f"class {i}" for i in range(k)), tuple(f"{i}.jpg" for i in range(n)),
                       labels.astype(np.int64), logits.astype(np.float32))  # fmt: skip


def counted(given: Predictions) -> ClassificationResult:
    counts = new_counts(len(given.classes), "cpu")
    for part in np.array_split(np.arange(len(given)), 3):
        update(counts, torch.from_numpy(given.logits[part]), torch.from_numpy(given.labels[part]))
    return ClassificationResult.from_counts(counts, given.classes)


def drawn(seed: int, n: int, k: int, scale: float) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = generator.integers(k, size=n)
    return predictions(scale * generator.normal(size=(n, k)) + 2 * np.eye(k)[labels], labels)


def same_reliability(given: Predictions) -> None:
    ours, theirs = sample_metrics(given, resamples=10)["calibration"], counted(given).to_dict()["calibration"]
    assert (ours["n"], ours["bins"]) == (theirs["n"], theirs["bins"]) == (len(given), 15)
    for one, other in zip(ours["reliability"], theirs["reliability"], strict=True):
        assert one == pytest.approx(other, abs=1e-12)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 80), k=st.integers(2, 16), scale=st.sampled_from([0, 0.1, 1, 9]))
def test_reliability_of_samples_is_that_of_counts(seed: int, n: int, k: int, scale: float) -> None:
    same_reliability(drawn(seed, n, k, scale))


@pytest.mark.parametrize("k", [2, 3, 5, 15])
@pytest.mark.parametrize("level", [0.0, 0.1, -7.3])
def test_a_model_that_knows_nothing_has_the_same_bin_both_ways(k: int, level: float) -> None:
    given = predictions(np.full((7, k), level), np.arange(7) % k)
    same_reliability(given)
    expected = math.ceil(15 / k) - 1  # 1/k, an edge where k divides 15, belongs to the bin below
    assert counted(given).reliability[expected].n == 7


def test_it_is_what_its_parts_give_and_strict_json() -> None:
    given = drawn(0, 120, 4, 1.0)
    found = sample_metrics(given, resamples=300, seed=5)
    assert list(found) == ["adaptive_ece", "calibration", "intervals"]
    assert found["adaptive_ece"] == ece(adaptive_bins(given.confidence, given.correct))
    assert [one["n"] for one in found["calibration"]["adaptive"]] == [8] * 15
    expected = intervals(given.labels, given.predicted, given.nll, 4, resamples=300, seed=5)
    assert found["intervals"] == {
        "level": 0.95, "resamples": 300, "seed": 5, "method": "percentile bootstrap over samples",
        **{name: list(interval) for name, interval in expected.items() if interval},
    }  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    metrics = counted(given).to_dict()
    for name in expected:
        low, high = found["intervals"][name]
        assert low < metrics[name] < high


def test_no_samples() -> None:
    found = sample_metrics(predictions(np.empty((0, 3)), np.empty(0)))
    assert found["adaptive_ece"] is None
    assert found["calibration"]["n"] == 0
    assert (found["intervals"]["resamples"], found["intervals"]["seed"]) == (2000, 0)
    assert all(found["intervals"][name] is None for name in ("accuracy", "f1_macro", "f1_weighted", "nll"))


def test_logits_that_are_not_numbers() -> None:
    given = predictions(np.array([[0, 4], [math.nan, 0], [4, 0]]), np.array([1, 0, 1]))
    same_reliability(given)
    found = sample_metrics(given, resamples=50)
    assert found["adaptive_ece"] is None
    assert found["calibration"]["adaptive"] == []
    assert found["intervals"]["nll"] is None
    assert found["intervals"]["accuracy"] is not None
    json.dumps(found, allow_nan=False)
