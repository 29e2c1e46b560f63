"""The section on calibration: whether the model is right as often as its confidence says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.report.figures_calibration import Bins, reliability
from visionjobs.report.formatting import count, decimal, signed
from visionjobs.report.page import Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number


def calibration(run: RunSummary) -> Section | None:
    """Reliability diagram, a sentence and the table of bins; None where nothing was measured."""
    measured = run.values.get("calibration") or {}
    equal, adaptive = measured.get("reliability") or (), measured.get("adaptive") or ()
    if not any(bin_["n"] for bin_ in equal):
        return None
    caption = (
        "Reliability diagram: above, accuracy by confidence, in bins of equal width and of equal numbers of samples; "
        "below the dashed line the model is over-confident. Below, samples in each bin of equal width"
    )
    gallery = Gallery((Figure("reliability", reliability(equal, adaptive), caption),))
    return Section("calibration", "Calibration", (Text(_sentences(run, equal, adaptive)), gallery, _table(equal)))


def _sentences(run: RunSummary, equal: Bins, adaptive: Bins) -> str:
    text = f"ECE: {decimal(run.value('ece'))} in {len(equal)} bins of equal width"
    if adaptive:
        text += f", {decimal(run.value('adaptive_ece'))} in {len(adaptive)} bins of equal numbers"
    text += f", over {count(sum(bin_['n'] for bin_ in equal))} samples."
    gap = _mean_gap(equal)
    if gap is not None:
        said = "over-confident" if gap > 0 else "under-confident"
        text += f" On average the model is {said}: its mean confidence less its accuracy is {signed(gap)}."
    return f"{text} With few samples a bin, ECE comes out too high even for a model that is calibrated."


def _gap(bin_: Mapping[str, Any]) -> float | None:
    """Mean confidence less accuracy; None in an empty bin, or where a confidence is not a number."""
    confidence, accuracy = as_number(bin_["confidence"]), as_number(bin_["accuracy"])
    return None if confidence is None or accuracy is None else confidence - accuracy


def _mean_gap(bins: Bins) -> float | None:
    """Over all samples."""
    gaps = [(bin_["n"], _gap(bin_)) for bin_ in bins if bin_["n"]]
    known = [n * gap for n, gap in gaps if gap is not None]
    return sum(known) / sum(n for n, _ in gaps) if len(known) == len(gaps) else None


def _table(equal: Bins) -> Table:
    columns = ("Confidence", "Samples", "Mean confidence", "Accuracy", "Confidence less accuracy")
    return Table(
        "Bins of equal width",
        tuple(Column(title) for title in columns),
        tuple(
            (
                Cell(f"{decimal(bin_['low'], 3)} to {decimal(bin_['high'], 3)}"),
                Cell(count(bin_["n"])),
                Cell(decimal(bin_["confidence"])),
                Cell(decimal(bin_["accuracy"])),
                Cell(signed(_gap(bin_))),
            )
            for bin_ in equal
        ),
    )
