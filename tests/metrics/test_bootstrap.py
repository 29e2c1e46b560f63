"""Bootstrap intervals: against a loop over scikit-learn, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from visionjobs.metrics.bootstrap import intervals, paired_difference

PRIORS = np.array([0.4, 0.3, 0.2, 0.1])
CONFUSION = np.array([[0.85, 0.05, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1], [0.05, 0.1, 0.15, 0.7]])
"""P(predicted | label)."""


def draw(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    cell = generator.choice(16, size=n, p=(PRIORS[:, None] * CONFUSION).ravel())
    return cell // 4, cell % 4


def test_agrees_with_a_loop_over_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    # a class with one sample only, so that it is missing in many resamples, and one that is predicted but never there
    labels = np.array([0] * 20 + [1] * 15 + [2])
    predicted = np.where(generator.random(36) < 0.6, labels, generator.integers(4, size=36))
    nll = generator.exponential(size=36)
    draws, rows = np.random.default_rng(3), []
    for _ in range(200):
        index = draws.integers(36, size=36)
        truth, said = labels[index], predicted[index]
        present = sorted(set(truth.tolist()))
        rows.append([
            sk.accuracy_score(truth, said),
            sk.recall_score(truth, said, labels=present, average="macro"),
            sk.f1_score(truth, said, labels=present, average="macro", zero_division=0),
            sk.f1_score(truth, said, labels=present, average="weighted", zero_division=0),
            nll[index].mean(),
        ])  # fmt: skip
    expected = np.quantile(rows, [0.05, 0.95], axis=0).T
    found = intervals(labels, predicted, nll, 4, level=0.9, resamples=200, seed=3)
    assert list(found) == ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll"]
    for interval, (low, high) in zip(found.values(), expected, strict=True):
        assert interval == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("chunk_bytes", [1, 20_000, 333_333])
def test_the_size_of_a_chunk_changes_nothing(chunk_bytes: int) -> None:
    generator = np.random.default_rng(0)
    labels, predicted = draw(generator, 157)
    nll = generator.exponential(size=157)
    whole = intervals(labels, predicted, nll, 4, resamples=500)
    assert intervals(labels, predicted, nll, 4, resamples=500, chunk_bytes=chunk_bytes) == whole
    assert intervals(labels, predicted, nll, 4, resamples=500, seed=1) != whole


def test_the_interval_holds_the_truth_in_about_95_of_100_sets() -> None:
    joint = PRIORS[:, None] * CONFUSION
    f1 = 2 * joint.diagonal() / (joint.sum(axis=0) + joint.sum(axis=1))
    truth = {"accuracy": joint.trace(), "f1_macro": f1.mean(), "f1_weighted": PRIORS @ f1, "nll": 2.0,
             "balanced_accuracy": CONFUSION.diagonal().mean()}  # fmt: skip
    generator, held = np.random.default_rng(11), dict.fromkeys(truth, 0)
    for number in range(500):
        labels, predicted = draw(generator, 400)
        nll = generator.gamma(4.0, 0.5, size=400)  # mean 2
        for name, interval in intervals(labels, predicted, nll, 4, resamples=500, seed=number).items():
            assert interval is not None
            held[name] += interval[0] <= truth[name] <= interval[1]
    assert all(0.92 <= times / 500 <= 0.98 for times in held.values()), held


def test_the_interval_of_a_difference_holds_the_truth_and_knows_of_the_pairs() -> None:
    # the models agree on most samples: P(both, only a, only b, neither), a true difference of .06
    shares, generator, held = [0.7, 0.1, 0.04, 0.16], np.random.default_rng(2), 0
    for number in range(500):
        cell = generator.choice(4, size=300, p=shares)
        found = paired_difference(np.isin(cell, [0, 1]), np.isin(cell, [0, 2]), resamples=500, seed=number)
        assert found is not None
        assert found.difference == pytest.approx(np.mean(cell == 1) - np.mean(cell == 2))
        assert found.low <= found.difference <= found.high
        held += found.low <= 0.06 <= found.high
    assert 0.92 <= held / 500 <= 0.98
    # two independent samples of 300 would have 4 * sqrt(2 * .8 * .2 / 300) = .13
    deviation = math.sqrt((0.14 - 0.06**2) / 300)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.3)


def test_a_difference_is_that_of_the_other_way_round_with_its_sign_changed() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(400) < 0.8, generator.random(400) < 0.7
    one, other = paired_difference(a, b, resamples=20_000), paired_difference(b, a, resamples=20_000)
    assert one is not None
    assert other is not None
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)
    assert paired_difference(a, a) == (0.0, 0.0, 0.0)


def test_what_does_not_exist_is_none() -> None:
    nothing = np.empty(0, np.int64)
    assert set(intervals(nothing, nothing, np.empty(0), 3).values()) == {None}
    assert paired_difference(np.empty(0, bool), np.empty(0, bool)) is None
    for wrong in (math.inf, math.nan):
        found = intervals(np.array([0, 1]), np.array([0, 0]), np.array([0.5, wrong]), 2, resamples=50)
        assert found["nll"] is None
        assert found["accuracy"] == (0.0, 1.0)


def test_a_single_sample_is_its_own_interval() -> None:
    found = intervals(np.array([1]), np.array([1]), np.array([0.25]), 2, resamples=50)
    assert found == {**dict.fromkeys(["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"], (1.0, 1.0)),
                     "nll": (0.25, 0.25)}  # fmt: skip


def test_arguments_that_do_not_fit_raise() -> None:
    labels, nll = np.array([0, 1]), np.zeros(2)
    with pytest.raises(ValueError, match="expected 2 samples"):
        intervals(labels, labels[:1], nll, 2)
    with pytest.raises(ValueError, match="expected 2 samples"):
        intervals(labels, labels, nll[:1], 2)
    with pytest.raises(ValueError, match=r"classes in 0\.\.0"):
        intervals(labels, labels, nll, 1)
    with pytest.raises(ValueError, match=r"classes in 0\.\.1"):
        intervals(labels, np.array([-1, 0]), nll, 2)
    with pytest.raises(ValueError, match="the same samples twice"):
        paired_difference(np.zeros(2, bool), np.zeros(3, bool))
