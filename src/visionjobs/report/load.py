"""A run's folder -> RunSummary: everything that its pages and its mirror in wandb are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from visionjobs import box_scenes, detection_curves, mask_predictions, predictions, sample_images, scenes
from visionjobs.arrays import unpack_arrays
from visionjobs.box_scenes import BoxScenes
from visionjobs.detection_curves import DetectionCurves
from visionjobs.errors import MissingObjectError
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.predictions import Predictions
from visionjobs.report.summary import RunSummary
from visionjobs.runs import Run
from visionjobs.sample_images import SampleImages
from visionjobs.scenes import Scenes

Read = Callable[[str], bytes | None]
"""A key relative to the run's folder -> its contents, None where it is not there."""


def load_summary(run: Run) -> RunSummary:
    """Read what there is of the run; parts that are not there yet are left empty. Raises UserError (damaged file)."""
    spec, metrics = run.spec_now(), run.metrics() or {}

    def read(key: str) -> bytes | None:
        try:
            return run.store.read(key)
        except MissingObjectError:
            return None

    return RunSummary(
        run=run.id,
        job=spec.name,
        spec=spec.model_dump(mode="json"),
        record=run.record(),
        history=run.history(),
        metrics=metrics,
        dataset=run.dataset() or {},
        **read_kept(spec.task, str(metrics.get("split", "val")), read, run.store.address),
    )


def read_kept(task: str, split: str, read: Read, address: str) -> dict[str, Any]:
    """The fields of a RunSummary that come from `predictions/`, None or empty where there is no such file.

    Raises UserError naming a file, below `address`, that is damaged.
    """
    kinds: dict[str, dict[str, tuple[str, Callable[[bytes, str], Any]]]] = {
        "classification": {
            "predictions": (predictions.KEY.format(split=split), Predictions.from_parquet),
            "samples": (sample_images.KEY, SampleImages.from_npz),
            "embeddings": (predictions.EMBEDDINGS, unpack_arrays),
        },
        "segmentation": {
            "masks": (mask_predictions.KEY.format(split=split), MaskPredictions.from_npz),
            "scenes": (scenes.KEY, Scenes.from_npz),
        },
        "detection": {
            "curves": (detection_curves.KEY, DetectionCurves.from_npz),
            "box_scenes": (box_scenes.KEY, BoxScenes.from_npz),
        },
    }
    found: dict[str, Any] = {field: None for fields in kinds.values() for field in fields} | {"embeddings": {}}
    for field, (key, parse) in kinds[task].items():
        if (data := read(key)) is not None:
            found[field] = parse(data, f"{address}/{key}")
    return found
