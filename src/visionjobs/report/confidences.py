"""The section on how a detector's detections spread over their confidence."""

from __future__ import annotations

from visionjobs.report.figures_confidence import confidence_histogram
from visionjobs.report.floors import floors
from visionjobs.report.formatting import count
from visionjobs.report.page import Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary

READ = (
    "Right and wrong detections by confidence, one on the other: those that D-ECE is of, matched at an IoU of .5, "
    "without those in crowd regions."
)


def confidences(run: RunSummary) -> Section | None:
    """A histogram a floor; None where there is no detection at all."""
    drawn = []
    for key, floor in floors(run).items():
        bins = floor.get("histogram") or ()
        right, wrong = (sum(bin_[side] for bin_ in bins) for side in ("right", "wrong"))
        if right + wrong:
            caption = f"Confidence of at least {key}: {count(right)} right and {count(wrong)} wrong detections"
            drawn.append(Figure(f"confidences_{key}", confidence_histogram(bins), caption))
    return Section("confidences", "Confidence", (Text(READ), Gallery(tuple(drawn)))) if drawn else None
