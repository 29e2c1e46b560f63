"""A detection run with its boxes: read for a comparison alone, since 800,000 of them take seconds."""

from __future__ import annotations

from dataclasses import replace

from visionjobs.coco_json import ANNOTATIONS, RESULTS, read_annotations, read_results
from visionjobs.errors import MissingObjectError
from visionjobs.report.summary import RunSummary
from visionjobs.runs import Run


def with_boxes(run: Run, summary: RunSummary) -> RunSummary:
    """The summary of a detection run with its boxes, where it still holds them; any other run's as it is.

    Raises UserError naming a file that is damaged.
    """
    if summary.task != "detection":
        return summary
    try:
        annotations, results = run.store.read(ANNOTATIONS), run.store.read(RESULTS)
    except MissingObjectError:
        return summary
    truth = read_annotations(annotations, f"{run.store.address}/{ANNOTATIONS}")
    detections = read_results(results, f"{run.store.address}/{RESULTS}", truth)
    return replace(summary, truth=truth, detections=detections)
