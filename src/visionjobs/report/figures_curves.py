"""Precision against recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from visionjobs.report.figures import BLACK, LINES, STYLE, png, short

Floats = npt.NDArray[np.float64]


def precision_recall(recalls: Floats, lines: Sequence[tuple[str, Floats]]) -> bytes:
    """A line each of (label, precision at each recall, float64 [R]); a marker at each tenth. PNG, 800x656 px.

    Up to six lines are told apart by colour, dashes and marker.
    """
    kinds = (*LINES, (BLACK, "--", "x"))
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 4.1), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="recall", ylabel="precision")
        for (label, precision), (colour, dash, marker) in zip(lines, kinds, strict=False):
            axes.plot(
                recalls, precision, dash, color=colour, marker=marker, markevery=10, markersize=5, linewidth=1.7,
                label=short(label, 30), clip_on=False,
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        figure.legend(loc="outside upper center", ncols=1 if len(lines) < 3 else 2, fontsize=9, handlelength=2.6)
        return png(figure)
