"""Reliability bins and calibration errors: worked by hand, and against slow loops written from the definitions."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from visionjobs.metrics import calibration as c

# confidences that tie, and that lie on edges, are the interesting ones
confidences = st.one_of(
    st.integers(0, 15).map(lambda m: m / 15), st.integers(0, 20).map(lambda m: m / 20), st.floats(0, 1)
)
samples = st.lists(st.tuples(confidences, st.booleans()), min_size=1, max_size=60)


def arrays(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p for p, _ in pairs], np.float64), np.array([right for _, right in pairs], bool)


def slow_bins(pairs: list[tuple[float, bool]]) -> list[list[tuple[float, bool]]]:
    """Number m holds those in (m/15, (m+1)/15], by asking each bin for each sample."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for confidence, right in pairs:
        for m in range(15):
            if (m == 0 or confidence > m / 15 + 1e-12) and (m == 14 or confidence <= (m + 1) / 15 + 1e-12):
                bins[m].append((confidence, right))
    return bins


def slow_ece(pairs: list[tuple[float, bool]]) -> float:
    total = 0.0
    for members in slow_bins(pairs):
        if members:
            accuracy = sum(right for _, right in members) / len(members)
            total += len(members) / len(pairs) * abs(accuracy - sum(p for p, _ in members) / len(members))
    return total


def slow_adaptive_ece(pairs: list[tuple[float, bool]], bins: int) -> float:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    degrees = []
    for confidence, _ in ordered:
        tied = [right for other, right in ordered if other == confidence]
        degrees.append(sum(tied) / len(tied))
    parts = min(bins, len(pairs))
    total, start = 0.0, 0
    for part in range(parts):
        stop = start + len(pairs) // parts + (part < len(pairs) % parts)
        size = stop - start
        total += abs(sum(degrees[start:stop]) - sum(p for p, _ in ordered[start:stop])) / len(pairs) if size else 0
        start = stop
    assert start == len(pairs)
    return total


def test_ece_worked_by_hand() -> None:
    # (14/15, 1]: 3 samples, 2 correct, mean 2.92/3; (7/15, 8/15]: 2, 1, .51; (4/15, 5/15]: 1, 0, .3
    pairs = [(0.95, True), (0.5, True), (1.0, False), (0.3, False), (0.97, True), (0.52, False)]
    bins = c.reliability(*arrays(pairs))
    assert [one.n for one in bins] == [0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3]
    assert (bins[14].low, bins[14].high) == (14 / 15, 1.0)
    assert bins[14].accuracy == pytest.approx(2 / 3)
    assert bins[14].confidence == pytest.approx(2.92 / 3)
    assert (bins[0].accuracy, bins[0].confidence) == (None, None)
    assert c.ece(bins) == pytest.approx((3 * (2.92 / 3 - 2 / 3) + 2 * 0.01 + 0.3) / 6, abs=1e-12)


def test_adaptive_ece_worked_by_hand() -> None:
    # 7 samples in 3 bins: (.2 x, .4 v, .6 v), (.7 x, .8 v), (.9 v, .9 v)
    pairs = [(0.9, True), (0.2, False), (0.8, True), (0.6, True), (0.4, True), (0.9, True), (0.7, False)]
    bins = c.adaptive_bins(*arrays(pairs), bins=3)
    assert [one.n for one in bins] == [3, 2, 2]
    assert [(one.low, one.high) for one in bins] == [(0.2, 0.6), (0.7, 0.8), (0.9, 0.9)]
    assert [one.accuracy for one in bins] == pytest.approx([2 / 3, 1 / 2, 1.0])
    assert [one.confidence for one in bins] == pytest.approx([0.4, 0.75, 0.9])
    assert c.ece(bins) == pytest.approx((3 * (2 / 3 - 0.4) + 2 * 0.25 + 2 * 0.1) / 7)


@settings(max_examples=300)
@given(pairs=samples)
def test_ece_is_that_of_a_slow_loop(pairs: list[tuple[float, bool]]) -> None:
    bins = c.reliability(*arrays(pairs))
    assert [one.n for one in bins] == [len(members) for members in slow_bins(pairs)]
    assert c.ece(bins) == pytest.approx(slow_ece(pairs), abs=1e-12)


@settings(max_examples=300)
@given(pairs=samples, bins=st.integers(1, 15), order=st.randoms(use_true_random=False))
def test_adaptive_ece_is_that_of_a_slow_loop_in_any_order(pairs, bins, order) -> None:  # type: ignore[no-untyped-def]
    found = c.adaptive_bins(*arrays(pairs), bins)
    assert c.ece(found) == pytest.approx(slow_adaptive_ece(pairs, bins), abs=1e-12)
    sizes = [one.n for one in found]
    assert len(sizes) == min(bins, len(pairs))
    assert sum(sizes) == len(pairs)
    assert max(sizes) - min(sizes) <= 1
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert c.adaptive_bins(*arrays(shuffled), bins) == found


@settings(max_examples=100)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 200))
def test_the_reliability_curve_is_that_of_scikit_learn(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    confidence, correct = generator.random(n), generator.random(n) < 0.7
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    filled = [one for one in c.reliability(confidence, correct) if one.n]
    assert [one.accuracy for one in filled] == pytest.approx(accuracy, abs=1e-6)
    assert [one.confidence for one in filled] == pytest.approx(mean, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_below_and_rounding_does_not_lift_it() -> None:
    on_edge = np.array([m / 15 for m in range(16)])
    assert c.bin_numbers(on_edge).tolist() == [0, *range(15)]
    assert c.bin_numbers(np.nextafter(on_edge[1:15], 1)).tolist() == list(range(14))
    assert c.bin_numbers(on_edge[1:15] + 1e-9).tolist() == list(range(1, 15))
    assert c.edges() == pytest.approx([m / 15 for m in range(1, 15)], abs=0)


def test_ties_over_several_bins_invent_no_error() -> None:
    # each of 100 is sure to .9, and 90 are right: no order among them may make a gap of it
    confidence, correct = np.full(100, 0.9), np.arange(100) < 90
    assert c.ece(c.adaptive_bins(confidence, correct)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("tied", "bins"), [([True, False, False], 2), ([True, True, False, False, True], 3)])
def test_tied_samples_have_the_accuracy_expected_of_random_order(tied: list[bool], bins: int) -> None:
    lowest, highest = (0.1, True), (0.8, False)
    found = c.adaptive_bins(*arrays([lowest, *((0.5, right) for right in tied), highest]), bins)
    orders = [[lowest[1], *order, highest[1]] for order in itertools.permutations(tied)]
    expected = [np.mean([np.array_split(order, bins)[i].mean() for order in orders]) for i in range(bins)]
    assert [one.accuracy for one in found] == pytest.approx(expected)


def test_fewer_samples_than_bins_make_a_bin_each() -> None:
    found = c.adaptive_bins(np.array([0.7, 0.2]), np.array([True, False]))
    assert found == (c.Bin(0.2, 0.2, 1, 0.0, 0.2), c.Bin(0.7, 0.7, 1, 1.0, 0.7))


def test_no_samples_have_no_error() -> None:
    nothing, none = np.empty(0), np.empty(0, bool)
    assert c.ece(c.reliability(nothing, none)) is None
    assert c.ece(c.adaptive_bins(nothing, none)) is None
    found = c.calibration(nothing, none)
    assert found["n"] == 0
    assert found["adaptive"] == []
    assert found["reliability"][0] == {"low": 0.0, "high": 1 / 15, "n": 0, "accuracy": None, "confidence": None}


def test_a_confidence_that_is_not_a_number_leaves_no_error_and_valid_json() -> None:
    confidence, correct = np.array([0.3, math.nan]), np.array([True, False])
    bins = c.reliability(confidence, correct)
    assert bins[14] == c.Bin(14 / 15, 1.0, 1, 0.0, None)
    assert c.ece(bins) is None
    assert c.ece(c.adaptive_bins(confidence, correct)) is None
    json.dumps(c.calibration(confidence, correct), allow_nan=False)


def test_counts_add_up() -> None:
    generator = np.random.default_rng(1)
    confidence, correct = generator.random(100), generator.random(100) < 0.5
    n, hits, sums = np.zeros(15, np.int64), np.zeros(15, np.int64), np.zeros(15)
    for part in np.array_split(np.arange(100), 7):
        for i, number in zip(part, c.bin_numbers(confidence[part]), strict=True):
            n[number] += 1
            hits[number] += correct[i]
            sums[number] += confidence[i]
    for one, other in zip(c.equal_bins(n, hits, sums), c.reliability(confidence, correct), strict=True):
        assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)


def test_metrics_for_a_report_import_no_torch() -> None:
    names = ("calibration", "bootstrap", "classification_samples", "mcnemar", "features")
    code = (
        "import sys, " + ", ".join(f"visionjobs.metrics.{name}" for name in names) + "; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
