"""Finished detection runs in a storage, with all that their folders hold."""

from __future__ import annotations

import json

from detection_summaries import drawn_detections, drawn_truth, run_of

from visionjobs import box_scenes, detection_curves
from visionjobs.coco_json import ANNOTATIONS, RESULTS, write_annotations, write_results
from visionjobs.runs import Run, create_run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store

FINISHED = "2026-05-04T10:40:00+00:00"


def detection_run_in(
    root: Store, job: str = "yolo", wrong: float = 0.2, n: int = 40, floors: tuple[float, ...] = (0.001, 0.25)
) -> Run:
    """A complete run on n images that is wrong about a share of their boxes."""
    truth = drawn_truth(n)
    found = drawn_detections(truth, wrong)
    summary = run_of(truth, found, job=job, floors=floors)
    run = create_run(root, JobSpec.model_validate(summary.spec), json.dumps(summary.dataset))
    files = {
        RESULTS: write_results(truth, found),
        ANNOTATIONS: write_annotations(truth),
        detection_curves.KEY: summary.curves.to_npz(),
        box_scenes.KEY: summary.box_scenes.to_npz(),
        "metrics.json": json.dumps(dict(summary.metrics) | {"run": run.id}),
        "record.json": json.dumps({"state": "complete", "created": FINISHED, "finished": FINISHED}),
    }
    for key, data in files.items():
        run.store.write(key, data)
    return run
