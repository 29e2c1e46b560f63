"""Rounds and comparisons: how every benchmark measures, and what it hands over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from visionjobs.data.parallel import OnProgress

Value = float | int | str
Row = dict[str, Value]
"""One line of a CSV file."""


@dataclass(frozen=True)
class Plan:
    """rounds: how often each side is measured; quick: toy sizes, whose figures mean nothing; steps: of a window of
    checkpoint_cost, None for a whole epoch; scratch: an empty folder that is deleted afterwards."""

    rounds: int
    quick: bool
    steps: int | None
    scratch: Path
    on_progress: OnProgress


class SkippedError(Exception):
    """Something that the benchmark needs is not here; the message says what."""


@dataclass(frozen=True)
class Goal:
    """What the ratio is to reach."""

    sign: Literal[">=", "<="]
    value: float

    def is_met(self, ratio: float) -> bool:
        """Whether `ratio`, unrounded, reaches it."""
        return ratio >= self.value if self.sign == ">=" else ratio <= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True)
class Comparison:
    """A line of the summary. ours, other: one figure a round, in `unit`, side by side; note: what else to know."""

    what: str
    unit: str
    ours: list[float]
    other: list[float]
    goal: Goal
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """ours / other, round by round: what slows the machine down for a while falls on both."""
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    def to_row(self) -> Row:
        """The columns of summary.csv that the benchmark knows."""
        ratio = median(self.ratios)
        return {
            "compared": self.what,
            "unit": self.unit,
            "rounds": len(self.ours),
            "ours_median": round(median(self.ours), 4),
            "other_median": round(median(self.other), 4),
            "ratio_median": round(ratio, 4),
            "ratio_min": round(min(self.ratios), 4),
            "ratio_max": round(max(self.ratios), 4),
            "goal": str(self.goal),
            "met": "yes" if self.goal.is_met(ratio) else "no",
            "note": self.note,
        }


@dataclass(frozen=True)
class Measured:
    """rows: one a round and side; comparisons: what follows from them."""

    rows: list[Row]
    comparisons: list[Comparison]


def alternate(
    sides: Mapping[str, Callable[[], Row]], rounds: int, on_progress: OnProgress, *, what: str, warm_up: bool = True
) -> list[Row]:
    """Measure every side once a round, in an order that is turned round from one round to the next.

    With `warm_up` each side runs once before, uncounted. Returns a row a round and side: round, side, and what the
    side returned.
    """
    order = list(sides)
    total = len(order) * (rounds + warm_up)
    done = 0
    rows: list[Row] = []
    for number in range(0 if warm_up else 1, rounds + 1):
        for side in order if number % 2 else reversed(order):
            on_progress(f"{what}: {side}" + ("" if number else " (warm-up)"), done, total)
            figures = sides[side]()
            done += 1
            if number:
                rows.append({"round": number, "side": side, **figures})
    on_progress(what, total, total)
    return rows


def column(rows: list[Row], side: str, key: str) -> list[float]:
    """One side's figures, in the order of the rounds."""
    return [float(row[key]) for row in rows if row["side"] == side]


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def clock(on: torch.device) -> float:
    """Seconds of the wall clock, once the device has done what it was told."""
    if on.type == "cuda":
        torch.cuda.synchronize(on)
    return time.perf_counter()
