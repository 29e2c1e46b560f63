"""Bins of equal width: their edges, and their sums against scikit-learn's calibration_curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from visionjobs.metrics.calibration import bin_numbers
from visionjobs.metrics.confidence_bins import bin_sums

scores = st.one_of(st.integers(0, 50).map(lambda m: m / 50), st.floats(0, 1))
samples = st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=60)


def test_an_edge_belongs_to_the_bin_below_and_0_to_the_first() -> None:
    confidence = np.array([0, 0.05, 0.1, 0.1 + 1e-9, 0.3, 0.1 + 0.2, 0.9, 0.95, 1])
    assert bin_numbers(confidence, 10).tolist() == [0, 0, 0, 1, 2, 2, 8, 9, 9]
    for bins in (10, 20, 25):
        assert bin_numbers(np.arange(bins + 1) / bins, bins).tolist() == [0, *range(bins)]


def test_ece_worked_by_hand() -> None:
    # bin (.8, .9]: .85 right, .9 wrong: 1 right, 1.75 confidence; bin (.1, .2]: .2 wrong. (.75 + .2) / 3
    sums = bin_sums(np.array([0.85, 0.2, 0.9]), np.array([True, False, False]), 10)
    assert sums.n.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 2, 0]]
    assert sums.ece().tolist() == pytest.approx([0.95 / 3])


def test_groups_are_kept_apart_and_one_without_members_has_no_error() -> None:
    sums = bin_sums(np.array([0.5, 0.5]), np.array([0.25, 1.0]), 25, np.array([0, 2]), 3)
    errors = sums.ece()
    assert errors[[0, 2]].tolist() == pytest.approx([0.25, 0.5])
    assert np.isnan(errors[1])
    assert sums.n.shape == sums.confidence.shape == sums.target.shape == (3, 25)
    alone = bin_sums(np.array([0.5, 0.5]), np.array([0.25, 1.0]), 25)
    for part in ("n", "confidence", "target"):
        assert getattr(sums.together(), part).tolist() == getattr(alone, part).tolist()


@settings(max_examples=100)
@given(samples, st.sampled_from([10, 25]))
def test_curve_of_scikit_learn(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    # scikit-learn has the same edges, but knows no rounding
    edge = np.arange(bins + 1) / bins
    near = abs(confidence[:, None] - edge).argmin(axis=1)
    close = abs(confidence - edge[near]) < 2e-12
    confidence[close] = (edge[near[close]] - 1e-9).clip(0)
    sums = bin_sums(confidence, right, bins)
    precision, mean = calibration_curve(right, confidence, n_bins=bins)
    there = sums.n[0] > 0
    np.testing.assert_allclose(sums.target[0][there] / sums.n[0][there], precision, atol=1e-12)
    np.testing.assert_allclose(sums.confidence[0][there] / sums.n[0][there], mean, atol=1e-12)
