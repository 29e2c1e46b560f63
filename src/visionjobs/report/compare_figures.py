"""Figures of several runs together. Each run keeps its colour, line and marker through all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visionjobs.report.figures import (
    BLACK,
    BLUE,
    GREEN,
    MAX_MARKED_EPOCHS,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILLION,
    Values,
    png,
    short,
)

GREY = "#6B7280"
RUNS = (
    (BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, "-", "v"),
    (SKY, "--", "P"), (BLACK, "-.", "X"), (GREY, ":", ">"),
)  # fmt: skip
"""Colour, line and marker of each run: as many as can be compared."""


@dataclass(frozen=True)
class Curve:
    """One run's values by epoch. epochs: from 1; values: one each, None where there is none; best: one of
    the epochs, to be ringed."""

    epochs: Sequence[int]
    values: Values
    best: int | None


@dataclass(frozen=True)
class Score:
    """One measured figure with its confidence interval, and the published one; None for what does not exist."""

    label: str
    value: float | None
    interval: tuple[float, float] | None = None
    published: float | None = None


def run_curves(
    curves: Mapping[str, Curve], ylabel: str, limits: tuple[float | None, float | None] = (None, None)
) -> bytes:
    """One line a run (label -> curve) against the epoch; a ring marks each run's best epoch. PNG, 1000 px wide.

    `limits`: of the y axis, None as the values demand.
    """
    rows = math.ceil(len(curves) / 2)
    last = max(max(curve.epochs, default=1) for curve in curves.values())
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.2 + 0.22 * rows), dpi=200, layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel=ylabel)
        for (label, curve), (colour, dash, marker) in zip(curves.items(), RUNS, strict=False):
            numbers = [math.nan if value is None else value for value in curve.values]
            marked = marker if len(curve.epochs) <= MAX_MARKED_EPOCHS else ""
            axes.plot(
                curve.epochs, numbers, dash, color=colour, marker=marked, markersize=5, label=short(label),
                clip_on=False,  # so that a line along the top is seen whole
            )  # fmt: skip
            if curve.best is not None:
                at = numbers[list(curve.epochs).index(curve.best)]
                axes.plot(curve.best, at, "o", markersize=11, markerfacecolor="none", color=colour, clip_on=False)
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        if limits[0] is not None:
            axes.update_datalim([(1, limits[0])])  # so that the margin above suits the whole range
            axes.autoscale_view()
        axes.set_ylim(*limits)
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.2, handlelength=2.4)
        return png(figure)


def score_bars(scores: Sequence[Score], xlabel: str, interval: str, by_run: bool = True, digits: int = 4) -> bytes:
    """A horizontal bar a score from 0, whiskers over its interval, a diamond at the published figure.

    `interval`: its name in the legend; `by_run`: each bar in the colour of its run, else all in one; `digits`:
    decimals of the numbers beside the bars.
    """
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.3 + 0.38 * len(scores)), dpi=200, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel)
        rows = range(len(scores))
        lengths = [0.0 if score.value is None else score.value for score in scores]
        colours = [RUNS[row % len(RUNS)][0] if by_run else SKY for row in rows]
        axes.barh(rows, lengths, color=colours, alpha=0.55, height=0.62)
        _whiskers(axes, scores, interval)
        published = [(score.published, row) for row, score in enumerate(scores) if score.published is not None]
        if published:
            x, y = zip(*published, strict=True)
            axes.plot(x, y, "D", markersize=7, color="white", markeredgecolor="black", label="published", zorder=4)
        for row, score in enumerate(scores):
            text = "n/a" if score.value is None else f"{score.value:.{digits}f}"
            axes.annotate(text, (1, row), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", fontsize=10)  # fmt: skip
        labels = [short(score.label, 40) for score in scores]
        small = max(map(len, labels), default=0) > 30
        axes.set_yticks(rows, labels, fontsize=10 if small else None)
        axes.set(xlim=(0, _right(scores)), ylim=(len(scores) - 0.5, -0.5))
        axes.grid(visible=False, axis="y")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=2, fontsize=10)
        return png(figure)


def _whiskers(axes: Any, scores: Sequence[Score], label: str) -> None:
    ends = [(score.interval, row) for row, score in enumerate(scores) if score.interval is not None]
    if ends:
        low, high, rows = [end[0] for end, _ in ends], [end[1] for end, _ in ends], [row for _, row in ends]
        axes.hlines(rows, low, high, color="black", linewidth=1.6, label=label, zorder=3)
        axes.plot([*low, *high], [*rows, *rows], "|", color="black", markersize=9, markeredgewidth=1.6, zorder=3)


def _right(scores: Sequence[Score]) -> float:
    """Shares get the whole range from 0 to 1."""
    numbers = [number for score in scores for number in (score.value, score.published, *(score.interval or ()))]
    top = max((number for number in numbers if number is not None), default=1.0)
    return 1.0 if top <= 1 else 1.05 * top


def class_scores(class_names: Sequence[str], scores: Mapping[str, Values], xlabel: str) -> bytes:
    """A row a class, in it a marker a run (label -> a value a class, None where there is none), from 0 to 1."""
    rows = math.ceil(len(scores) / 2)
    with rc_context({**STYLE, "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.1 + 0.22 * rows + 0.3 * len(class_names)), dpi=200, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel="class")
        for (label, values), (colour, _, marker) in zip(scores.items(), RUNS, strict=False):
            numbers = [math.nan if value is None else value for value in values]
            axes.plot(numbers, range(len(class_names)), marker, color=colour, markersize=7, alpha=0.85,
                      markeredgecolor="white", markeredgewidth=0.6, label=short(label), clip_on=False)  # fmt: skip
        axes.set_yticks(range(len(class_names)), [short(name) for name in class_names], fontsize=10)
        axes.set(xlim=(0, 1), ylim=(len(class_names) - 0.5, -0.5))
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.2)
        return png(figure)
