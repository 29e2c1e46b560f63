"""McNemar's test and Holm's adjustment: by hand, and against sums of exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from visionjobs.metrics.mcnemar import McNemar, holm, mcnemar


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    order = np.random.default_rng(0).permutation(len(a))
    return a[order], b[order]


def exact(only_a: int, only_b: int) -> Fraction:
    """The probability of every outcome that is no more likely than the one seen, if each is a toss of a coin."""
    n = only_a + only_b
    ways = [comb(n, k) for k in range(n + 1)]
    return Fraction(sum(w for w in ways if w <= ways[only_a]), 2**n)


def test_a_case_worked_by_hand() -> None:
    # 6 samples divide them, 1 to 5: P(0) + P(1) + P(5) + P(6) = (1 + 6 + 6 + 1) / 64
    found = mcnemar(*answers(both=20, only_a=1, only_b=5, neither=4))
    assert found == McNemar(both=20, only_a=1, only_b=5, neither=4, p_value=pytest.approx(14 / 64, abs=1e-15))


@settings(max_examples=100)
@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60), both=st.integers(0, 9), neither=st.integers(0, 9))
def test_agrees_with_exact_sums_and_scipy(only_a: int, only_b: int, both: int, neither: int) -> None:
    a, b = answers(both, only_a, only_b, neither)
    found = mcnemar(a, b)
    assert (found.both, found.only_a, found.only_b, found.neither) == (both, only_a, only_b, neither)
    assert found.p_value == pytest.approx(float(exact(only_a, only_b)), rel=1e-9)
    if only_a + only_b:
        assert found.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)
    assert mcnemar(b, a).p_value == found.p_value


def test_models_that_never_differ() -> None:
    assert mcnemar(*answers(3, 0, 0, 2)) == McNemar(3, 0, 0, 2, 1.0)
    assert mcnemar(np.empty(0, bool), np.empty(0, bool)) == McNemar(0, 0, 0, 0, 1.0)


def test_large_counts() -> None:
    assert mcnemar(*answers(0, 0, 1000, 0)).p_value == pytest.approx(2.0**-999, rel=1e-9)
    large = mcnemar(*answers(10, 500_000, 503_000, 10))
    assert large.p_value == pytest.approx(binomtest(500_000, 1_003_000).pvalue, rel=1e-6)
    assert 0.0026 < large.p_value < 0.0028  # 2 * Phi(-3000 / sqrt(1003000)) = .00274


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1)])
def test_different_samples_raise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the same samples twice"):
        mcnemar(np.zeros(4, bool), np.zeros(shape, bool))


def test_holm_worked_by_hand() -> None:
    # in order .005 * 4, .01 * 3, .03 * 2, .04 * 1, which may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(p_values=st.lists(st.floats(0, 1), max_size=12), level=st.floats(0.001, 0.999))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values: list[float], level: float) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    rejected: set[int] = set()
    left = dict(enumerate(p_values))
    while left:
        smallest = min(left, key=lambda i: left[i])
        if not len(left) * left.pop(smallest) <= level:
            break
        rejected.add(smallest)
    # which of equal p-values is taken first is up to each, but then all or none of them are rejected
    assert sorted(p_values[i] for i, q in enumerate(adjusted) if q <= level) == sorted(p_values[i] for i in rejected)
