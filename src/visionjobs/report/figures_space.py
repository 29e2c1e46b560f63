"""A sweep's figures of its search space: parallel coordinates, and the metric against each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from visionjobs.report.compare_figures import GREY
from visionjobs.report.figures import BLACK, BLUE, STYLE, VERMILLION, png, short
from visionjobs.report.sweep_axes import Axis
from visionjobs.report.sweep_trials import finite
from visionjobs.sweep_progress import COMPLETE, STOPPED, TrialState

SPACING = 1.55
"""Inches from one axis of the parallel coordinates to the next."""

PIXELS_AN_INCH = 92
"""At the least, where a figure is shown that is wider than the page."""

MULTIPLES = 3
"""Figures beside one another."""

LETTERS = 30
"""Below an axis; of more the text is turned."""


@dataclass(frozen=True)
class Scale:
    """The metric's. limits: of its axis; values beyond stand at its ends. coloured: the range that the colours span,
    that of the complete trials."""

    label: str
    limits: tuple[float, float]
    coloured: tuple[float, float]
    maximise: bool

    def clamped(self, value: float) -> float:
        """The value, or the end beyond which it lies."""
        return min(max(value, self.limits[0]), self.limits[1])

    def place(self, value: float) -> float:
        """From 0 to 1."""
        low, high = self.limits
        return (self.clamped(value) - low) / (high - low)

    def colour(self, value: float) -> tuple[float, float, float, float]:
        """Dark is better."""
        low, high = self.coloured
        return self.colours()(float(np.clip((value - low) / (high - low), 0, 1)))

    def colours(self) -> Colormap:
        """Viridis, which colour-blind people see as others do, without its end that white swallows."""
        colours = colormaps["viridis"](np.linspace(0, 0.92, 256))
        return ListedColormap(colours[::-1] if self.maximise else colours)


def of_value(trials: Sequence[TrialState]) -> list[TrialState]:
    """Trials that can be drawn: complete ones and those stopped early, with a value."""
    return [trial for trial in trials if trial.state in (COMPLETE, STOPPED) and finite(trial.value) is not None]


def parallel_coordinates(
    trials: Sequence[TrialState], axes_of: Sequence[Axis], scale: Scale, best: int | None
) -> tuple[bytes, int]:
    """A line a trial through an axis a parameter and, at the right, the metric's, coloured by it where the trial is
    complete; grey dashes: stopped early. And how wide it is to be shown."""
    drawn = sorted(of_value(trials), key=lambda trial: _depth(trial, scale, best))
    width = max(9.0, 1.6 + SPACING * len(axes_of))
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(width, 5), dpi=130, layout="constrained")
        axes = figure.add_subplot(xlim=(-0.45, len(axes_of) + 0.5), ylim=(-0.03, 1.03))
        axes.set_axis_off()
        for trial in drawn:
            _draw_line(axes, trial, axes_of, scale, trial.number == best)
        for place, axis in enumerate(axes_of):
            _draw_axis(axes, place, axis.ticks(), _name(axis.key))
        _draw_metric(axes, len(axes_of), scale, any(trial.state == COMPLETE for trial in drawn))
        handles = _handles(drawn, best)
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9.5, columnspacing=1.4)
        return png(figure), round(width * PIXELS_AN_INCH)


def _depth(trial: TrialState, scale: Scale, best: int | None) -> tuple[bool, bool, float]:
    """Better ones are drawn over worse ones."""
    return trial.number == best, trial.state == COMPLETE, (trial.value or 0.0) * (1 if scale.maximise else -1)


def _draw_line(axes: Axes, trial: TrialState, axes_of: Sequence[Axis], scale: Scale, is_best: bool) -> None:
    value = scale.place(trial.value or 0.0)
    places = [axis.place(trial.parameters.get(axis.key), trial.number) for axis in axes_of]
    heights = [math.nan if place is None else place for place in places]
    look: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 0.9, "alpha": 0.7}
    if trial.state == COMPLETE:
        look = {
            "color": scale.colour(trial.value or 0.0),
            "linewidth": 3.6 if is_best else 1.7,
            "alpha": 1 if is_best else 0.85,
        }
    marker: dict[str, Any] = {"marker": "*", "markersize": 13} if is_best else {}
    if trial.number == 0 and not is_best:
        marker = {"marker": "s", "markersize": 6}
    axes.plot(range(len(places) + 1), [*heights, value], **look, **marker, markeredgecolor="white")


def _draw_axis(axes: Axes, place: float, ticks: Sequence[tuple[float, str]], name: str) -> None:
    axes.plot([place, place], [0, 1], color="#333333", linewidth=1.2, zorder=5)
    axes.text(place, 1.05, name, ha="center", va="bottom", fontsize=10, clip_on=False)
    for at, text in ticks:
        axes.plot([place - 0.03, place], [at, at], color="#333333", linewidth=1, zorder=5)
        axes.text(place - 0.05, at, text, ha="right", va="center", fontsize=8.5, zorder=6,
                  bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})  # fmt: skip


def _draw_metric(axes: Axes, place: float, scale: Scale, coloured: bool) -> None:
    """The metric's axis, with what the colours mean beside it."""
    low, high = scale.limits
    if coloured:
        bottom, top = (scale.place(end) for end in scale.coloured)
        axes.imshow(
            np.linspace(0, 1, 256)[:, None], cmap=scale.colours(), aspect="auto", origin="lower",
            extent=(place + 0.03, place + 0.12, bottom, top), interpolation="nearest", zorder=5,
        )  # fmt: skip
    axes.set(xlim=(-0.45, place + 0.5), ylim=(-0.03, 1.03))  # which an image sets anew
    axes.text(place, 1.05, scale.label.replace(" ", "\n", 1), ha="center", va="bottom", fontsize=10, clip_on=False)
    for number in MaxNLocator(6).tick_values(low, high):
        if low <= number <= high:
            axes.text(place + 0.15, scale.place(number), f"{number:.4g}", ha="left", va="center", fontsize=8.5)
    axes.plot([place, place], [0, 1], color="#333333", linewidth=1.2, zorder=5)


def _handles(drawn: Sequence[TrialState], best: int | None) -> list[Line2D]:
    handles = []
    if any(trial.number == best for trial in drawn):
        star: dict[str, Any] = {
            "marker": "*",
            "markersize": 13,
            "linewidth": 3.6,
            "color": "#333333",
            "markeredgecolor": "white",
        }
        handles.append(Line2D([], [], **star, label=f"trial {best}, best"))
    if best != 0 and any(trial.number == 0 for trial in drawn):
        square: dict[str, Any] = {"marker": "s", "markersize": 6, "color": "#333333", "markeredgecolor": "white"}
        handles.append(Line2D([], [], **square, label="trial 0, the job's own"))
    if any(trial.state == STOPPED for trial in drawn):
        handles.append(Line2D([], [], color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, label="stopped early"))
    return handles


def metric_by_parameter(
    trials: Sequence[TrialState], axes_of: Sequence[Axis], scale: Scale, best: int | None
) -> tuple[bytes, int]:
    """The metric against each parameter, a figure each, MULTIPLES beside one another: filled circles complete trials,
    hollow ones those that were stopped early. And how wide it is to be shown."""
    columns = 2 if len(axes_of) == 4 else min(MULTIPLES, len(axes_of))
    rows = math.ceil(len(axes_of) / columns)
    size = (10, 0.7 + 3.1 * rows) if columns == MULTIPLES else (7, 0.8 + 3.1 * rows) if columns == 2 else (5, 3.7)
    drawn = of_value(trials)
    with rc_context({**STYLE, "axes.axisbelow": True}):
        figure = Figure(figsize=size, dpi=130 if columns == MULTIPLES else 160, layout="constrained")
        figure.supylabel(scale.label, fontsize=11)
        for place, axis in enumerate(axes_of, start=1):
            axes = figure.add_subplot(rows, columns, place, xlim=(-0.05, 1.05), ylim=scale.limits)
            _draw_points(axes, axis, drawn, scale, best)
            ticks = axis.ticks()
            letters = max((len(text) for _, text in ticks), default=0) * len(ticks)
            turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
            axes.set_xticks(*zip(*ticks, strict=True), fontsize=9, **(turned if letters > LETTERS else {}))
            axes.tick_params(axis="y", labelsize=9)
            axes.set_xlabel(short(axis.key, 34), fontsize=10)
        if handles := _point_handles(drawn, best):
            figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=9.5, columnspacing=1)
        return png(figure), 10 * PIXELS_AN_INCH if columns == MULTIPLES else 0


KINDS: dict[str, dict[str, Any]] = {
    "complete": {"color": BLUE, "markersize": 6, "alpha": 0.8, "marker": "o", "markeredgecolor": "white"},
    "stopped": {"color": GREY, "markersize": 5.5, "marker": "o", "markerfacecolor": "none"},
    "own": {"color": BLACK, "markersize": 7, "marker": "s", "markeredgecolor": "white"},
    "own, stopped": {"color": BLACK, "markersize": 6.5, "marker": "s", "markerfacecolor": "none"},
    "best": {"color": VERMILLION, "markersize": 14, "marker": "*", "markeredgecolor": "white"},
}
"""Of points. own: trial 0."""


def _kind(trial: TrialState, best: int | None) -> str:
    if trial.number == best:
        return "best"
    if trial.number == 0:
        return "own" if trial.state == COMPLETE else "own, stopped"
    return "complete" if trial.state == COMPLETE else "stopped"


def _draw_points(axes: Axes, axis: Axis, drawn: Sequence[TrialState], scale: Scale, best: int | None) -> None:
    for depth, (kind, look) in enumerate(KINDS.items(), start=3):
        found = [trial for trial in drawn if _kind(trial, best) == kind]
        points = [(axis.place(trial.parameters.get(axis.key), trial.number), trial.value or 0.0) for trial in found]
        placed = [(at, scale.clamped(value)) for at, value in points if at is not None]
        if placed:
            axes.plot(*zip(*placed, strict=True), linestyle="none", clip_on=False, zorder=depth, **look)


def _point_handles(drawn: Sequence[TrialState], best: int | None) -> list[Line2D]:
    labels = {
        "best": f"trial {best}, best", "own": "trial 0, the job's own", "complete": "complete",
        "own, stopped": "trial 0, the job's own, stopped early", "stopped": "stopped early",
    }  # fmt: skip
    present = {_kind(trial, best) for trial in drawn}
    return [
        Line2D([], [], linestyle="none", **KINDS[kind], label=label)
        for kind, label in labels.items()
        if kind in present
    ]


def _name(key: str) -> str:
    """Over an axis: a section a line."""
    return "\n".join(short(part, 17) for part in f"{key}".replace(".", ".\n").split("\n"))
