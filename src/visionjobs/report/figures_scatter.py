"""Clouds of points in two and three dimensions, a colour and a marker a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from visionjobs.report.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILLION, png, short

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", "h", ">")
"""No pair of both comes twice before the 78th class, and classes of one colour have markers that differ much."""


def scatter(points: npt.NDArray[Any], labels: npt.NDArray[Any], class_names: Sequence[str], axis: str) -> bytes:
    """points [n, 2] or [n, 3], not finite ones left out; labels [n], numbers of `class_names`; axis: name of an axis.

    The legend stands below, and names the classes that have points.
    """
    dimensions = points.shape[1]
    points, labels = points[np.isfinite(points).all(axis=1)], labels[np.isfinite(points).all(axis=1)]
    present = [number for number in range(len(class_names)) if (labels == number).any()]
    columns = 3 if max((len(class_names[number]) for number in present), default=0) <= 16 else 2
    legend = 0.183 * math.ceil(len(present) / columns) + 0.1
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 4.2 + legend), dpi=160, layout="constrained")
        axes: Any = figure.add_subplot(projection="3d") if dimensions == 3 else figure.add_subplot()
        size = 36 if len(points) <= 500 else 20 if len(points) <= 3000 else 9
        for number in present:
            axes.scatter(
                *points[labels == number].T, s=size, color=COLOURS[number % len(COLOURS)], linewidths=0,
                marker=MARKERS[number % len(MARKERS)], alpha=0.8, label=short(class_names[number]),
            )  # fmt: skip
        for name, number in zip("xyz", range(dimensions), strict=False):
            axes.set(**{f"{name}label": f"{axis} {number + 1}", f"{name}ticklabels": []})
            axes.tick_params(axis=name, length=0)
        if dimensions == 3:
            axes.set_box_aspect(None, zoom=0.88)  # or the labels are cut off
        figure.legend(
            loc="outside lower center", ncols=columns, fontsize=10, markerscale=(36 / size) ** 0.5,
            handletextpad=0.2, columnspacing=1, labelspacing=0.3,
        )  # fmt: skip
        return png(figure)
