"""McNemar's test: do two classifiers differ on the same samples by more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class McNemar:
    """Samples that both, only the first, only the second and neither have correct; the two-sided p-value."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


def mcnemar(correct_a: npt.NDArray[np.bool_], correct_b: npt.NDArray[np.bool_]) -> McNemar:
    """Exact test of two classifiers that are right or wrong, bool [n] each, on the same samples in the same order.

    If they are equally good, a sample that only one has correct is either's with probability 1/2:
    p = min(1, 2 P(X <= min(only_a, only_b))), X ~ Binomial(only_a + only_b, 1/2); 1 where there is no such sample.
    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; the exact form as in Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13:91, 2013,
    "The exact conditional test". Raises ValueError (different numbers of samples).
    """
    if correct_a.ndim != 1 or correct_a.shape != correct_b.shape:
        raise ValueError(f"expected the same samples twice, got {list(correct_a.shape)} and {list(correct_b.shape)}")
    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(correct_b & ~correct_a))
    both = int(np.count_nonzero(correct_a & correct_b))
    return McNemar(both, only_a, only_b, len(correct_a) - both - only_a - only_b, _p_value(only_a, only_b))


def _p_value(only_a: int, only_b: int) -> float:
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for having made several tests, in the order given: reject those at or below the level.

    With p_(1) <= ... <= p_(m) the i-th is max over j <= i of min(1, (m - j + 1) p_(j)).
    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
