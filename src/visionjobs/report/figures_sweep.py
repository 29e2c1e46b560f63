"""A sweep's figures by trial: the metric over the epochs, what each trial took, what matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from visionjobs.report.compare_figures import GREY, RUNS
from visionjobs.report.figures import (
    BLACK,
    BLUE,
    MAX_MARKED_EPOCHS,
    ORANGE,
    SKY,
    STYLE,
    VERMILLION,
    png,
    short,
)  # fmt: skip
from visionjobs.report.sweep_trials import cost, curve_of, saved
from visionjobs.sweep_progress import COMPLETE, STOPPED, TrialState

MAX_NAMED = len(RUNS)
"""Of more trials not each has a line of its own kind."""

MANY = 40
"""From more trials than this on, the figure of hours grows."""

NOT_ENDED = "not ended or failed"


def metric_curves(trials: Sequence[TrialState], best: int | None, ylabel: str, limits: tuple[float, float]) -> bytes:
    """A line a trial against the epoch. limits: of the metric's axis. PNG, 1120x736 px.

    A cross ends the lines of trials that were stopped early. best: number of a trial. Up to MAX_NAMED trials are each
    told apart; of more the best one and trial 0 alone.
    """
    drawn = [trial for trial in trials if curve_of(trial)]
    named = len(drawn) <= MAX_NAMED
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4.6), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel=ylabel)
        looks = list(_looks_of_few(drawn, best)) if named else [_look_of_many(trial, best) for trial in drawn]
        for trial, look in zip(drawn, looks, strict=True):
            _draw_curve(axes, trial, look)
        axes.set_xlim(0.5, max((trial.epochs for trial in drawn), default=1) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        axes.set_ylim(*limits)
        handles = axes.get_legend_handles_labels()[0] if named else _legend_of_many(drawn, best)
        figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9.5, columnspacing=1.2)
        return png(figure)


def _draw_curve(axes: Axes, trial: TrialState, look: Mapping[str, Any]) -> None:
    epochs, values = zip(*curve_of(trial), strict=True)
    marked = look.get("marker", "o") if len(epochs) == 1 or trial.epochs <= MAX_MARKED_EPOCHS else ""
    axes.plot(epochs, values, **{**look, "marker": marked})
    if trial.state == STOPPED:
        axes.plot(
            epochs[-1], values[-1], "x", color=look["color"], alpha=look.get("alpha"), zorder=look["zorder"] + 0.1,
            markersize=9, markeredgewidth=2.2,
        )  # fmt: skip


def _looks_of_few(drawn: Sequence[TrialState], best: int | None) -> Iterator[dict[str, Any]]:
    """Of each trial; the best one and trial 0 look as they do among many."""
    taken = {VERMILLION if trial.number == best else BLACK for trial in drawn if trial.number in (0, best)}
    others = iter([run for run in RUNS if run[0] not in taken])
    for trial in drawn:
        told = [word for word, holds in (("best", trial.number == best), ("the job's own", trial.number == 0)) if holds]
        told += [trial.state] if trial.state != COMPLETE else []
        look = _look_of_many(trial, best)
        if trial.number not in (0, best):
            colour, dash, marker = next(others)
            width = 1.8 if trial.state == COMPLETE else 1.2
            look = {"color": colour, "linestyle": dash, "marker": marker, "linewidth": width, "zorder": 3}
        yield {**look, "markersize": 5, "label": ", ".join([f"trial {trial.number}", *told])}


def _look_of_many(trial: TrialState, best: int | None) -> dict[str, Any]:
    if trial.number == best:
        return {"color": VERMILLION, "linestyle": "-", "linewidth": 3.2, "zorder": 6, "markersize": 5}
    if trial.number == 0:
        return {"color": BLACK, "linestyle": "--", "linewidth": 2.2, "zorder": 5, "markersize": 4}
    if trial.state == COMPLETE:
        return {"color": BLUE, "linestyle": "-", "linewidth": 1.5, "zorder": 4, "markersize": 3, "alpha": 0.75}
    dash = "-" if trial.state == STOPPED else ":"
    return {"color": GREY, "linestyle": dash, "linewidth": 1, "zorder": 3, "markersize": 2.5, "alpha": 0.6}


def _legend_of_many(drawn: Sequence[TrialState], best: int | None) -> list[Line2D]:
    others = [trial for trial in drawn if trial.number not in (0, best)]
    complete = [trial for trial in others if trial.state == COMPLETE]
    stopped = [trial for trial in others if trial.state == STOPPED]
    left = len(others) - len(complete) - len(stopped)
    own = [trial for trial in drawn if trial.number == 0 and trial.number != best]
    handles = []
    if best is not None:
        told = f"trial {best}, best{', the job' + chr(39) + 's own' if best == 0 else ''}"
        handles.append(Line2D([], [], color=VERMILLION, linewidth=3.2, label=told))
    if own:
        handles.append(Line2D([], [], color=BLACK, linestyle="--", label="trial 0, the job's own"))
    if complete:
        handles.append(Line2D([], [], color=BLUE, linewidth=1.5, alpha=0.75, label=f"complete ({len(complete)})"))
    if stopped:
        look: dict[str, Any] = {"color": GREY, "linewidth": 1, "marker": "x", "markersize": 8, "markeredgewidth": 2}
        handles.append(Line2D([], [], **look, label=f"stopped early ({len(stopped)})"))
    if left:
        handles.append(Line2D([], [], color=GREY, linestyle=":", label=f"{NOT_ENDED} ({left})"))
    return handles


def cost_bars(trials: Sequence[TrialState], gpus: bool) -> tuple[bytes, int]:
    """A bar a trial of what it took, on top of it what stopping it early saved; and how wide it is to be shown.

    gpus: in GPU-hours; else in hours, or in minutes where no trial took two hours. A trial that was not begun has no
    bar.
    """
    longest = max((cost(trial, gpus) or 0.0 for trial in trials), default=0.0)
    unit, scale = ("GPU-hours", 1) if gpus else ("hours", 1) if longest >= 2 else ("minutes", 60)
    kinds = (
        ("complete", BLUE, "", [trial for trial in trials if trial.state == COMPLETE]),
        ("stopped early", SKY, "", [trial for trial in trials if trial.state == STOPPED]),
        (NOT_ENDED, ORANGE, "..", [trial for trial in trials if trial.state not in (COMPLETE, STOPPED)]),
    )
    wide = max(0, len(trials) - MANY)
    with rc_context({**STYLE, "axes.grid.axis": "y", "axes.axisbelow": True, "hatch.linewidth": 0.6}):
        figure = Figure(figsize=(min(7 + 0.09 * wide, 16), 3.8), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="trial", ylabel=unit)
        for label, colour, hatch, found in kinds:
            bars = [(trial.number, scale * taken) for trial in found if (taken := cost(trial, gpus)) is not None]
            if bars:
                numbers, heights = zip(*bars, strict=True)
                axes.bar(numbers, heights, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=label)
        spared = [(trial, scale * value) for trial in trials if (value := saved(trial, gpus)) is not None]
        if spared:
            bottoms = [scale * (cost(trial, gpus) or 0.0) for trial, _ in spared]
            axes.bar(
                [trial.number for trial, _ in spared], [value for _, value in spared], bottom=bottoms,
                facecolor="white", edgecolor=GREY, hatch="///", linewidth=0.8, label="saved (estimate)",
            )  # fmt: skip
        axes.set_xlim(-0.7, max(trial.number for trial in trials) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20, min_n_ticks=1))
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=4, fontsize=9.5, columnspacing=1.2)
        return png(figure), 900 if wide else 0


def importance_bars(shares: Mapping[str, float]) -> bytes:
    """A horizontal bar a parameter, its share of the variance from 0 to 1, and one of what is left to several."""
    rest = max(0.0, 1 - sum(shares.values()))
    names = [*(short(key, 34) for key in shares), "several together"]
    values = [*shares.values(), rest]
    with rc_context({**STYLE, "axes.grid.axis": "x", "axes.axisbelow": True}):
        figure = Figure(figsize=(7, 0.9 + 0.36 * len(values)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="share of the variance")
        colours = [*(BLUE for _ in shares), "#C4C9CF"]
        axes.barh(range(len(values)), values, height=0.7, color=colours)
        for row, value in enumerate(values):
            axes.text(value + 0.012, row, f"{100 * value:.0f} %" if value >= 0.005 else "<1 %", va="center", fontsize=9)
        axes.set_yticks(range(len(values)), names, fontsize=10)
        axes.set(xlim=(0, 1.08), ylim=(len(values) - 0.5, -0.5), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
        return png(figure)
