"""Where the values of a searched parameter lie on an axis from 0 to 1: evenly, by their logarithm, or as categories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from visionjobs.report.figures import short
from visionjobs.report.sweep_trials import value_text
from visionjobs.spec_sweep import Domain
from visionjobs.sweep_progress import TrialState

MAX_CATEGORIES = 10
"""Of more categories not each is named."""

MAX_TICKS = 5
BELOW = 0.12
"""Where a logarithmic axis begins if there is a value at 0 or below: that one stands at 0, apart."""

GOLDEN = 0.6180339887
"""Its multiples, without the whole part, are spread evenly, however many there are."""

REACH = 4


@dataclass(frozen=True)
class Axis:
    """One parameter's axis. categories: of a choice, as text, in order; else () and the numbers from low to high.

    The job's own value may lie outside the search space: the axis holds it all the same. under: the job's own value
    where it has no logarithm.
    """

    key: str
    log: bool = False
    whole: bool = False
    low: float = 0.0
    high: float = 1.0
    under: float | None = None
    categories: tuple[str, ...] = ()

    def place(self, value: Any, number: int = 0) -> float | None:
        """From 0 to 1; None for what has no place. number: of the trial, which moves it a little within a category,
        so that trials of the same value are told apart."""
        if self.categories:
            text = value_text(value)
            if text not in self.categories:
                return None
            shift = (number * GOLDEN % 1 - 0.5) * 0.3
            return (self.categories.index(text) + 0.5 + shift) / len(self.categories)
        return self._scaled(value) if _is_number(value) else None

    def _scaled(self, value: float) -> float:
        start = 0.0 if self.under is None else BELOW
        if self.log and value <= 0:
            return 0.0
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return start + (1 - start) * (at - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """(place, text)."""
        if self.categories:
            step = math.ceil(len(self.categories) / MAX_CATEGORIES)
            named = range(0, len(self.categories), step)
            return [((i + 0.5) / len(self.categories), short(self.categories[i], 16)) for i in named]
        under = [] if self.under is None else [self.under]
        return [(self._scaled(number), f"{number:.6g}") for number in (*under, *self._round_numbers())]

    def _round_numbers(self) -> list[float]:
        if self.log and self.high / self.low >= MAX_TICKS:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1, 2, 5), (1, 3), (1,)):
                numbers = [factor * 10.0**power for power in powers for factor in factors]
                numbers = [number for number in numbers if self.low * 0.999 <= number <= self.high * 1.001]
                if len(numbers) <= MAX_TICKS:
                    break
            return numbers[:: math.ceil(len(numbers) / MAX_TICKS)]
        found = MaxNLocator(MAX_TICKS - 1, integer=self.whole).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [0.0 if abs(n) < slack else float(n) for n in found if self.low - slack <= n <= self.high + slack]


def axis_of(key: str, domain: Domain, trials: Sequence[TrialState]) -> Axis:
    """The axis of one parameter, for these trials."""
    values = [trial.parameters[key] for trial in trials if key in trial.parameters]
    if domain.choice is not None:
        return Axis(key, categories=tuple(dict.fromkeys(map(value_text, (*domain.choice, *values)))))
    log, numbers = domain.kind == "loguniform", [value for value in values if _is_number(value)]
    placed = [*domain.bounds, *(number for number in numbers if not log or number > 0)]
    under = next((number for number in numbers if log and number <= 0), None)
    return Axis(key, log, domain.kind == "int", min(placed), max(placed), under)


def axes_of(space: Mapping[str, Domain], trials: Sequence[TrialState]) -> list[Axis]:
    """The axes of all parameters, in the order of the search space."""
    return [axis_of(key, domain, trials) for key, domain in space.items()]


def visible_range(values: Sequence[float], needed: Sequence[float] = ()) -> tuple[float, float]:
    """Of an axis for `values`, without those that are out of all proportion (a loss that grew without bounds): farther
    from the middle half than REACH times its width. needed: values that are seen in any case."""
    if not len(values):
        return 0.0, 1.0
    lower, upper = (float(quartile) for quartile in np.percentile(values, (25, 75)))
    reach = REACH * max(upper - lower, 0.02 * max(abs(lower), abs(upper)))
    seen = [*needed, lower, upper, *(value for value in values if lower - reach <= value <= upper + reach)]
    low, high = min(seen), max(seen)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
