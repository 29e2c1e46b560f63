"""Bars and pies: what there is of each class, and two measurements of each class beside one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib import rc_context
from matplotlib.figure import Figure

from visionjobs.report.figures import BLUE, ORANGE, STYLE, png, short

PAIR = ((BLUE, ""), (ORANGE, "//"))
"""Colours, and hatches for who does not see them."""


def class_bars(class_names: Sequence[str], numbers: Sequence[int], xlabel: str) -> bytes:
    """A horizontal bar a class, from top to bottom, with its number."""
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.1 + 0.27 * len(class_names)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel="class")
        rows = range(len(class_names))
        bars = axes.barh(rows, numbers, color=BLUE, height=0.72)
        axes.bar_label(bars, labels=[f"{number:,}" for number in numbers], padding=3, fontsize=9)
        axes.set_yticks(rows, [short(name) for name in class_names], fontsize=9)
        axes.set(xlim=(0, 1.14 * max(1, *numbers)), ylim=(len(class_names) - 0.4, -0.6))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5, integer=True))
        axes.grid(visible=False, axis="y")
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
