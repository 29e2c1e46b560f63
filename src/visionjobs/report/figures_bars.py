"""Bars and pies: what there is of each class, and two measurements of each class beside one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionjobs.report.figures import BLUE, ORANGE, STYLE, png, short
from visionjobs.report.formatting import decimal

PAIR = ((BLUE, ""), (ORANGE, "//"))
"""Colours, and hatches for who does not see them."""


def class_bars(class_names: Sequence[str], numbers: Sequence[int], xlabel: str, log: bool = False) -> bytes:
    """A horizontal bar a class, from top to bottom, with its number; `log`: on a logarithmic axis from 1 on."""
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.1 + 0.27 * len(class_names)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel="class")
        _draw_bars(axes, numbers, log)
        axes.set_yticks(range(len(class_names)), [short(name) for name in class_names], fontsize=9)
        return png(figure)


def split_bars(class_names: Sequence[str], numbers: Mapping[str, Sequence[int]], unit: str, log: bool = False) -> bytes:
    """The same for several splits side by side. numbers: split -> a number a class; unit: what is counted."""
    axis = ", logarithmic axis" if log else ""
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(
            figsize=(1.5 + 3.3 * len(numbers), 1.4 + 0.27 * len(class_names)), dpi=120, layout="constrained"
        )
        for axes, (split, values) in zip(
            figure.subplots(1, len(numbers), squeeze=False)[0], numbers.items(), strict=True
        ):
            _draw_bars(axes, values, log)
            axes.set(title=split, xlabel=f"{unit}{axis}")
            axes.set_yticks(range(len(class_names)), [])
        first = figure.axes[0]
        first.set_yticks(range(len(class_names)), [short(name) for name in class_names], fontsize=9)
        return png(figure)


def _draw_bars(axes: Axes, numbers: Sequence[int], log: bool) -> None:
    top, rows, log = max(1, *numbers), range(len(numbers)), log and any(numbers)
    axes.barh(rows, numbers, color=BLUE, height=0.72, log=log)
    for row, number in zip(rows, numbers, strict=True):
        at, text = (max(1, number) if log else number, row), f"{number:,}" if number else "absent"
        axes.annotate(text, at, (3, 0), textcoords="offset points", va="center", fontsize=9)
    # room for the longest number beside the longest bar
    axes.set(xlim=(1, 20 + top**1.35) if log else (0, 1.2 * top), ylim=(len(numbers) - 0.4, -0.6))
    if log:
        axes.set_xticks([10**power for power in range(0, len(str(top)), 2)])
        axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5, integer=True))
    axes.grid(visible=False, axis="y")


def score_bars(class_names: Sequence[str], scores: Sequence[float | None], xlabel: str) -> bytes:
    """A horizontal bar a class, from top to bottom, of a score from 0 to 1, with its value or n/a."""
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.1 + 0.27 * len(class_names)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel="class")
        rows = range(len(class_names))
        axes.barh(rows, [score or 0.0 for score in scores], color=BLUE, height=0.72)
        for row, score in zip(rows, scores, strict=True):
            axes.annotate(decimal(score), (score or 0.0, row), (3, 0), textcoords="offset points", va="center",
                          fontsize=9)  # fmt: skip
        axes.set_yticks(rows, [short(name) for name in class_names], fontsize=9)
        axes.set(xlim=(0, 1.16), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1], ylim=(len(class_names) - 0.4, -0.6))
        axes.grid(visible=False, axis="y")
        return png(figure)


def binned_bars(
    ranges: Sequence[tuple[float, float]],
    numbers: Sequence[int],
    bars: Mapping[str, Sequence[float | None]],
    xlabel: str,
) -> bytes:
    """For each range a vertical bar an entry of `bars` (label -> a value from 0 to 1 a range, None where there is
    none), and below it how many classes it holds."""
    width = 0.8 / len(bars)
    with rc_context({**STYLE, "axes.grid.axis": "y", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 3.6), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=f"{xlabel}, and number of classes", ylabel="mean over the classes")
        for at, ((label, values), (colour, hatch)) in enumerate(zip(bars.items(), PAIR, strict=False)):
            places = [place + (at - (len(bars) - 1) / 2) * width for place in range(len(ranges))]
            heights = [0.0 if value is None else value for value in values]
            axes.bar(places, heights, width, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=label)
            for place, number, value in zip(places, numbers, values, strict=True):
                if number and value is None:
                    axes.annotate("n/a", (place, 0), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        labels = [f"{low:.1f} to\n{high:.1f}\n({number})" for (low, high), number in zip(ranges, numbers, strict=True)]
        axes.set_xticks(range(len(ranges)), labels, fontsize=9)
        axes.set(ylim=(0, 1.02), xlim=(-0.6, len(ranges) - 0.4))
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=2)
        return png(figure)


def class_shares(class_names: Sequence[str], numbers: Sequence[int]) -> bytes:
    """A pie of the classes that have any, clockwise from the top, each with its name and share in percent."""
    shown = [(short(name, 16), number) for name, number in zip(class_names, numbers, strict=True) if number]
    colours = mpl.colormaps["cividis"]([0.45 + 0.55 * i / max(1, len(shown) - 1) for i in range(len(shown))])
    total, small = sum(numbers), 9 if len(shown) <= 12 else 7
    labels = [f"{name}\n{100 * number / total:.1f} %" for name, number in shown]
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 4), dpi=160, layout="constrained")
        axes = figure.add_subplot()
        axes.pie(
            [number for _, number in shown], labels=labels, colors=list(colours), startangle=90, counterclock=False,
            labeldistance=1.12, textprops={"fontsize": small}, wedgeprops={"edgecolor": "white", "linewidth": 1.5},
        )  # fmt: skip
        return png(figure)


def paired_bars(class_names: Sequence[str], bars: Mapping[str, Sequence[float | None]], xlabel: str) -> bytes:
    """For each class a horizontal bar an entry of `bars` (label -> a value a class, None where there is none)."""
    height = 0.8 / len(bars)
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.4 + 0.36 * len(class_names)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel="class")
        for number, ((label, values), (colour, hatch)) in enumerate(zip(bars.items(), PAIR, strict=False)):
            rows = [row + (number - (len(bars) - 1) / 2) * height for row in range(len(class_names))]
            lengths = [math.nan if value is None else value for value in values]
            axes.barh(rows, lengths, height, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=label)
        axes.set_yticks(range(len(class_names)), [short(name) for name in class_names], fontsize=9)
        axes.set_ylim(len(class_names) - 0.4, -0.6)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=2)
        return png(figure)
