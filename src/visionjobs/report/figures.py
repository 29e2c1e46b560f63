"""Figures as PNG bytes, on white. Colours after Okabe and Ito (2008), told apart by line and marker too."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

ORANGE, GREEN = "#E69F00", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
SKY, BLACK = "#56B4E9", "#000000"
LINES = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, "-", "v"))

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, whatever else there is
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E6E9",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "text.parse_math": False,  # a class may be called "$5"
}
MAX_MARKED_EPOCHS = 40
MAX_LABEL = 24
LARGE = 15
"""From more classes than this on, a confusion matrix needs more room than a column of text."""
LARGEST = 100
"""From more classes than this on, neither names nor numbers find room beside one another."""

Values = Sequence[float | None]


def curves(
    epochs: Sequence[int],
    lines: Mapping[str, Values],
    ylabel: str,
    best_epoch: int | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    zero: bool = False,
) -> bytes:
    """One line an entry of `lines` (label -> a value an epoch, None where there is none) against the epoch.

    `best_epoch` is marked by a vertical line, `zero` by a horizontal one. `limits`: of the y axis, None as the values
    demand. PNG, 1000x680 px.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.4), dpi=200, layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel=ylabel)
        for (label, values), (colour, dash, marker) in zip(lines.items(), LINES, strict=False):
            numbers = [math.nan if value is None else value for value in values]
            marked = marker if len(epochs) <= MAX_MARKED_EPOCHS else ""
            axes.plot(epochs, numbers, dash, color=colour, marker=marked, markersize=5, label=label, clip_on=False)
        if zero:
            axes.axhline(0, color="#555555", linewidth=1)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="#555555", linewidth=1.2, dashes=(2, 2), label=f"best epoch: {best_epoch}")
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        if limits[0] is not None:
            axes.update_datalim([(epochs[0], limits[0])])  # so that the margin above suits the whole range
            axes.autoscale_view()
        axes.set_ylim(*limits)
        if len(lines) > 1 or best_epoch is not None:
            figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.8)
        return png(figure)


def confusion_matrix(class_names: Sequence[str], matrix: Sequence[Sequence[int]], shares: bool = False) -> bytes:
    """Counts by true class (rows) and predicted class (columns). Grows with the number of classes, up to LARGEST.

    shares: percent of the row's samples instead of counts.
    """
    k = len(class_names)
    side = max(5.0, 1.8 + 0.36 * min(k, LARGEST))
    with rc_context({**STYLE, "axes.grid": False, "font.size": 11 if k <= LARGE else 13}):
        figure = Figure(figsize=(side, side), dpi=200 if k <= LARGE else 110, layout="constrained")
        axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
        values = [[100 * value / max(1, sum(row)) for value in row] for row in matrix] if shares else matrix
        top = 100 if shares else max(1, *(max(row) for row in matrix))
        axes.imshow(values, cmap="Blues", vmin=0, vmax=top)
        if k <= LARGEST:
            _annotate(axes, values, top)
            labels = [short(name) for name in class_names]
            axes.set_xticks(range(k), labels, rotation=90 if k > LARGE else 45, ha="center" if k > LARGE else "right",
                            rotation_mode="default" if k > LARGE else "anchor")  # fmt: skip
            axes.set_yticks(range(k), labels)
        return png(figure)


def _annotate(axes: Any, values: Sequence[Sequence[float]], top: float) -> None:
    """The number in each cell that has one, light on dark."""
    size = max(6.0, min(11.0, 34.0 / max(3, len(str(top)))))
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value:
                colour = "white" if value > 0.55 * top else "#333333"
                text = "<1" if value < 0.5 else f"{value:.0f}"
                # not in the layout: it lies inside the axes, and measuring 1,600 texts takes seconds
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size, in_layout=False)


def short(name: str, length: int = MAX_LABEL) -> str:
    """A name as a figure can show it: on one line, cut at `length`, a box for what the font has no glyph for."""
    name = "".join(letter if ord(letter) in _glyphs() else "□" for letter in " ".join(name.split()))
    return name if len(name) <= length else name[: length - 1] + "…"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(str(STYLE["font.family"]))).get_charmap())


def png(figure: Figure) -> bytes:
    """The same bytes for the same figure: no time or program name goes into the file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
