"""Values from a search space, as a person would write them: drawn at random, or all that there are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from visionjobs.spec_sweep import Domain

SMALL = 4096
"""The most combinations that are counted out one by one."""


def draw_all(space: Mapping[str, Domain], generator: np.random.Generator) -> dict[str, Any]:
    """One value of every parameter, each drawn by itself."""
    return {key: draw(domain, generator) for key, domain in space.items()}


def draw(domain: Domain, generator: np.random.Generator) -> Any:
    """A value of the domain, as a plain Python object."""
    if domain.choice is not None:
        return domain.choice[int(generator.integers(len(domain.choice)))]
    if domain.int is not None:
        first, last = domain.int
        return int(generator.integers(first, last, endpoint=True))
    low, high = domain.bounds
    if domain.loguniform is None:
        return readable(generator.uniform(low, high), domain)
    return readable(math.exp(generator.uniform(math.log(low), math.log(high))), domain)


def readable(value: float, domain: Domain) -> float:
    """A real number with four digits, or with more where the domain is too narrow for them; never out of its bounds."""
    low, high = domain.bounds
    digits = max(3 - math.floor(math.log10(size)) for size in (abs(value), high - low) if size)
    return min(max(round(float(value), digits), low), high)


def grid(space: Mapping[str, Domain]) -> list[dict[str, Any]]:
    """Every combination there is, where they can be counted and are at most SMALL; else none."""
    values = [_values(domain) for domain in space.values()]
    if not 0 < math.prod(len(each) for each in values) <= SMALL:
        return []
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]


def _values(domain: Domain) -> list[Any] | range:
    """All of them; none of real numbers, which cannot be counted."""
    if domain.int is not None:
        return range(domain.int[0], domain.int[1] + 1)
    return domain.choice or []
