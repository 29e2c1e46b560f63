"""How far a model's confidence can be taken at its word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from visionjobs.report.figures import BLUE, SKY, STYLE, VERMILLION, png

Bins = Sequence[Mapping[str, Any]]


def reliability(equal: Bins, adaptive: Bins) -> bytes:
    """Accuracy against confidence above, samples against confidence below.

    Bins are {"low", "high", "n", "accuracy", "confidence"}, all but n between 0 and 1; one without samples is left
    out. `equal`: bins of the same width, as bars; `adaptive`: of the same number of samples, as points.
    """
    equal = [bin_ for bin_ in equal if bin_["n"]]
    adaptive = [bin_ for bin_ in adaptive if bin_["n"] and bin_["confidence"] is not None]
    left, width = [bin_["low"] for bin_ in equal], [bin_["high"] - bin_["low"] for bin_ in equal]
    with rc_context({**STYLE, "axes.axisbelow": True}):
        figure = Figure(figsize=(5, 5.4), dpi=160, layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        outline = {"width": width, "align": "edge", "edgecolor": "white", "linewidth": 1}
        above.bar(left, [bin_["accuracy"] for bin_ in equal], color=SKY, label="bins of equal width", **outline)
        above.plot([0, 1], [0, 1], color="#555555", linewidth=1.2, dashes=(4, 2), label="perfect calibration")
        if adaptive:
            above.plot(
                [bin_["confidence"] for bin_ in adaptive], [bin_["accuracy"] for bin_ in adaptive], "D", markersize=6,
                color=VERMILLION, markeredgecolor="white", label="bins of equal numbers",
            )  # fmt: skip
        bars = below.bar(left, [bin_["n"] for bin_ in equal], color=BLUE, **outline)
        below.bar_label(bars, labels=[f"{bin_['n']:,}" for bin_ in equal], fontsize=7, padding=1)
        above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        below.set(xlabel="confidence (probability of the predicted class)", ylabel="samples")
        below.margins(y=0.18)
        figure.legend(loc="outside upper center", ncols=2, fontsize=9)
        return png(figure)
