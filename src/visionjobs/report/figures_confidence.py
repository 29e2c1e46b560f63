"""How far a detector's confidence can be taken at its word, and how its detections spread over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from visionjobs.report.figures import BLUE, ORANGE, SKY, STYLE, VERMILLION, png

Bins = Sequence[Mapping[str, Any]]


def box_reliability(bins: Bins) -> bytes:
    """Precision against confidence above, with the gap to each bin's mean confidence; detections a bin below, on a
    logarithmic axis. Bins as in metrics.json's `reliability`; one without detections is left out."""
    bins = [bin_ for bin_ in bins if bin_["n"]]
    left, width = [bin_["low"] for bin_ in bins], [bin_["high"] - bin_["low"] for bin_ in bins]
    precision = [bin_["precision"] for bin_ in bins]
    gap = [bin_["confidence"] - bin_["precision"] for bin_ in bins]
    with rc_context({**STYLE, "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 5.4), dpi=160, layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        outline: dict[str, Any] = {"width": width, "align": "edge"}
        above.bar(left, precision, color=SKY, edgecolor="white", linewidth=1, label="precision", **outline)
        above.bar(
            left, gap, bottom=precision, color="none", edgecolor=VERMILLION, hatch="///", linewidth=1.2,
            label="gap to the mean confidence", **outline,
        )  # fmt: skip
        above.plot([0, 1], [0, 1], color="#555555", linewidth=1.2, dashes=(4, 2), label="perfect calibration")
        numbers = [bin_["n"] for bin_ in bins]
        bars = below.bar(left, numbers, color=BLUE, edgecolor="white", linewidth=1, **outline)
        short = EngFormatter(places=1, sep="")
        labels = [f"{number:,}" if number < 10_000 else short(number) for number in numbers]
        below.bar_label(bars, labels=labels, fontsize=7.5, padding=1)
        above.set(ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        below.set(xlabel="confidence", ylabel="detections", yscale="log")
        below.set_ylim(0.7, 3 * max(numbers, default=1) ** 1.12)
        below.yaxis.set_major_formatter(EngFormatter(sep=""))
        below.minorticks_off()
        figure.legend(loc="outside upper center", ncols=2, fontsize=9)
        return png(figure)


def confidence_histogram(bins: Bins) -> bytes:
    """Right and wrong detections stacked, a bar a bin. One bar that dwarfs the others is cut, and tells its height."""
    totals = [bin_["right"] + bin_["wrong"] for bin_ in bins]
    first, second = [*sorted(totals, reverse=True), 0, 0][:2]
    cut = second and first > 4 * second
    top = 1.25 * second if cut else 1.08 * max(1, first)
    with rc_context({**STYLE, "axes.grid.axis": "y", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 3.6), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="confidence", ylabel="detections", xlim=(0, 1), ylim=(0, top))
        _stack(axes, bins)
        for bin_, total in zip(bins, totals, strict=True):
            if total > top:
                axes.annotate(
                    f"↑ {total:,}, of which\n{bin_['right']:,} right", (bin_["low"], top), (24, -4), va="top",
                    textcoords="offset points", fontsize=9,
                )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=2)
        return png(figure)


def _stack(axes: Axes, bins: Bins) -> None:
    left, width = [bin_["low"] for bin_ in bins], [bin_["high"] - bin_["low"] for bin_ in bins]
    right, wrong = ([bin_[key] for bin_ in bins] for key in ("right", "wrong"))
    look: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white", "linewidth": 0.6}
    axes.bar(left, right, color=BLUE, label="right", **look)
    axes.bar(left, wrong, bottom=right, color=ORANGE, hatch="//", label="wrong", **look)
