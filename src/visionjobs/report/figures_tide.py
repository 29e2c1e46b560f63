"""TIDE's errors as bars, and what each of the main ones has of their sum, as in TIDE's own plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionjobs.report.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILLION, png

Errors = Mapping[str, float | None]

SIZE_BARS = {"all": (BLACK, ""), "small": (SKY, "//"), "medium": (ORANGE, ".."), "large": (GREEN, "\\\\")}
"""Colours, and hatches for who does not see them."""

SHARE_BARS = ((VERMILLION, ""), (BLUE, "//"), ("#F0E442", ".."), (SKY, "\\\\"), (PURPLE, "xx"), (ORANGE, "--"))


def error_bars(sizes: Mapping[str, Errors], main: Sequence[str], special: Sequence[str]) -> bytes:
    """For each error a vertical bar a size; the special errors, which are larger, on an axis of their own.

    sizes: some of boxes.SIZES -> error -> points of AP, None where there is none.
    """
    with rc_context({**STYLE, "axes.grid.axis": "y", "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 3.7), dpi=160, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(len(main) + 0.6, len(special) + 0.6))
        for axes, names in ((left, main), (right, special)):
            _grouped(axes, sizes, names)
        left.set(ylabel="points of AP50", title="main errors")
        right.set(title="special")
        for axes in (left, right):
            axes.title.set_fontsize(11)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, columnspacing=1.2, handlelength=1.4)
        return png(figure)


def _grouped(axes: Axes, sizes: Mapping[str, Errors], names: Sequence[str]) -> None:
    width = 0.84 / len(sizes)
    for at, (size, errors) in enumerate(sizes.items()):
        colour, hatch = SIZE_BARS[size]
        places = [place + (at - (len(sizes) - 1) / 2) * width for place in range(len(names))]
        values = [errors.get(name) for name in names]
        axes.bar(
            places, [value or 0.0 for value in values], width, color=colour, hatch=hatch, edgecolor="white",
            linewidth=0, label=size,
        )  # fmt: skip
        for place, value in zip(places, values, strict=True):
            if value is None:
                axes.annotate("n/a", (place, 0), (0, 2), textcoords="offset points", ha="center", fontsize=7,
                              rotation=90)  # fmt: skip
    axes.set_xticks(range(len(names)), names, fontsize=10)
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.grid(visible=False, axis="x")


def error_shares(rows: Mapping[str, Errors], main: Sequence[str]) -> bytes:
    """A horizontal bar a row, of length 1: which part each main error has of their sum, in percent where it fits.

    An error that costs nothing, or less than that, has no part; a row without any error has no bar.
    """
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(5, 1.35 + 0.42 * len(rows)), dpi=160, layout="constrained")
        axes = figure.add_subplot(xlabel="share of the main errors' sum, percent")
        for place, errors in enumerate(rows.values()):
            _stacked(axes, place, [max(0.0, errors.get(name) or 0.0) for name in main])
        for name, (colour, hatch) in zip(main, SHARE_BARS, strict=False):
            axes.bar(0, 0, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=name)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6))
        figure.legend(loc="outside upper center", ncols=6, columnspacing=0.9, handlelength=1.1, handletextpad=0.4)
        return png(figure)


def _stacked(axes: Axes, place: int, values: Sequence[float]) -> None:
    total, left = sum(values), 0.0
    for value, (colour, hatch) in zip(values, SHARE_BARS, strict=False):
        share = 100 * value / total if total else 0.0
        axes.barh(place, share, 0.7, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        if share >= 6:
            axes.text(
                left + share / 2, place, f"{share:.0f}", ha="center", va="center_baseline", fontsize=10,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
            )  # fmt: skip
        left += share
    if not total:
        axes.text(1, place, "n/a", va="center_baseline", fontsize=10)
