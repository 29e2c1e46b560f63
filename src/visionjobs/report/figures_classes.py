"""Bars of each class at several confidence floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from visionjobs.report.figures import BLUE, GREEN, ORANGE, PURPLE, STYLE, png, short

FLOOR_BARS = ((BLUE, ""), (ORANGE, "//"), (GREEN, ".."), (PURPLE, "\\\\"))
"""Colours, and hatches for who does not see them."""


def floor_bars(class_names: Sequence[str], bars: Mapping[str, Sequence[float | None]], xlabel: str) -> bytes:
    """For each class, from top to bottom, a horizontal bar an entry of `bars` (label -> a value from 0 to 1 a class,
    None where there is none: n/a)."""
    height, rows = 0.8 / len(bars), range(len(class_names))
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 1.4 + (0.12 + 0.13 * len(bars)) * len(rows)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel)
        for at, ((label, values), (colour, hatch)) in enumerate(zip(bars.items(), FLOOR_BARS, strict=False)):
            places = [row + (at - (len(bars) - 1) / 2) * height for row in rows]
            lengths = [value or 0.0 for value in values]
            axes.barh(places, lengths, height, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=label)
        for row in rows:
            if all(values[row] is None for values in bars.values()):
                axes.annotate("n/a", (0, row), (3, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(rows, [short(name) for name in class_names], fontsize=9)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=len(bars))
        return png(figure)
