"""Figures as PNG bytes, on white. Colours after Okabe and Ito (2008), told apart by line and marker too."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

ORANGE, GREEN = "#E69F00", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
LINES = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, "-", "v"))

STYLE = {
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

Values = Sequence[float | None]


def curves(
    epochs: Sequence[int],
    lines: Mapping[str, Values],
    ylabel: str,
    best_epoch: int | None = None,
    limits: tuple[float | None, float | None] = (None, None),
) -> bytes:
    """One line an entry of `lines` (label -> a value an epoch, None where there is none) against the epoch.

    `best_epoch` is marked by a vertical line. `limits`: of the y axis, None as the values demand. PNG, 1000x680 px.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.4), dpi=200, layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel=ylabel)
        for (label, values), (colour, dash, marker) in zip(lines.items(), LINES, strict=False):
            numbers = [math.nan if value is None else value for value in values]
            marked = marker if len(epochs) <= MAX_MARKED_EPOCHS else ""
            axes.plot(epochs, numbers, dash, color=colour, marker=marked, markersize=5, label=label)
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
        return _png(figure)


def confusion_matrix(class_names: Sequence[str], matrix: Sequence[Sequence[int]]) -> bytes:
    """Counts by true class (rows) and predicted class (columns). Grows with the number of classes."""
    k = len(class_names)
    side = max(5.0, 1.8 + 0.36 * k)
    with rc_context({**STYLE, "axes.grid": False, "font.size": 11 if k <= LARGE else 13}):
        figure = Figure(figsize=(side, side), dpi=200 if k <= LARGE else 110, layout="constrained")
        axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
        top = max(1, *(max(row) for row in matrix))
        axes.imshow(matrix, cmap="Blues", vmin=0, vmax=top)
        _annotate(axes, matrix, top)
        labels = [_short(name) for name in class_names]
        axes.set_xticks(range(k), labels, rotation=90 if k > LARGE else 45, ha="center" if k > LARGE else "right",
                        rotation_mode="default" if k > LARGE else "anchor")  # fmt: skip
        axes.set_yticks(range(k), labels)
        return _png(figure)


def _annotate(axes: Any, matrix: Sequence[Sequence[int]], top: int) -> None:
    """The count in each cell that has one, light on dark."""
    size = max(6.0, min(11.0, 34.0 / max(3, len(str(top)))))
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if value:
                colour = "white" if value > 0.55 * top else "#333333"
                # not in the layout: it lies inside the axes, and measuring 1,600 texts takes seconds
                axes.text(j, i, str(value), ha="center", va="center", color=colour, fontsize=size, in_layout=False)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"


def _png(figure: Figure) -> bytes:
    """The same bytes for the same figure: no time or program name goes into the file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
