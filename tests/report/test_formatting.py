"""Values as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from visionjobs.report.formatting import count, decimal, duration, memory, percent, plain, signed


@pytest.mark.parametrize(
    ("show", "value", "expected"),
    [
        (decimal, 0.64273, "0.6427"), (decimal, -0.5, "\N{MINUS SIGN}0.5000"), (decimal, 0, "0.0000"),
        (signed, 0.01, "+0.0100"), (signed, -0.01, "\N{MINUS SIGN}0.0100"), (signed, 0.00001, "0.0000"),
        (signed, -0.00001, "0.0000"), (signed, 0.0, "0.0000"),
        (percent, 0.256, "25.6 %"), (percent, 0.0, "0.0 %"), (count, 9334, "9,334"), (count, 0, "0"),
        (memory, 2**20 * 312, "312 MiB"), (memory, 3 * 2**29, "1.5 GiB"), (memory, 0, "0 MiB"),
        (duration, 0.04, "0.0 s"), (duration, 59.94, "59.9 s"), (duration, 75, "1 min 15 s"),
        (duration, 119.7, "2 min 0 s"), (duration, 3599.9, "1 h 0 min"), (duration, 7384, "2 h 3 min"),
        (plain, None, "n/a"), (plain, "", "n/a"), (plain, 0, "0"), (plain, False, "no"), (plain, True, "yes"),
        (plain, 0.1 + 0.2, "0.3"), (plain, "text", "text"),
    ],
)  # fmt: skip
def test_shown_as(show: Callable[[Any], str], value: Any, expected: str) -> None:
    assert show(value) == expected


@pytest.mark.parametrize("show", [decimal, signed, percent, count, memory, duration, plain])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_does_not_exist_is_not_available(show: Callable[[Any], str], value: float | None) -> None:
    assert show(value) == "n/a"
