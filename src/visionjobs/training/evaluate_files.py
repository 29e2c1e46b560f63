"""Any detector's results in COCO's format, evaluated: no run, no Ray, no GPU, no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionjobs.boxes import Truth
from visionjobs.coco_json import read_annotations, read_results
from visionjobs.errors import UserError
from visionjobs.inference.output import new_folder
from visionjobs.report.build import PAGE, build_report
from visionjobs.report.files import replace_page
from visionjobs.report.load import read_kept
from visionjobs.report.summary import RunSummary
from visionjobs.runs import now
from visionjobs.storage import open_store
from visionjobs.tasks import detection
from visionjobs.tasks.base import OnStage


@dataclass(frozen=True)
class ImageFolder:
    """The images of an annotation file, in a folder."""

    truth: Truth
    folder: Path

    def encoded(self, index: int) -> bytes:
        """The file of the image at `index` of truth.image_ids. Raises UserError naming it."""
        path = self.folder / self.truth.paths[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror or error}); --images must be the folder of the images that "
                "the annotations name"
            ) from error


def evaluate_files(
    predictions: Path, annotations: Path, out: Path, floors: Sequence[float], images: Path | None, on_stage: OnStage
) -> dict[str, Any]:
    """Write metrics.json, predictions/ and report/ into the new folder `out`; returns metrics.json's `metrics`.

    images: the folder of the images, for those that the report draws; None: it draws none.
    Raises UserError naming the file that is missing or wrong, or `out` where it is there and not empty.
    """
    on_stage("reading the files")
    truth = read_annotations(_read(annotations), str(annotations))
    results = _read(predictions)
    found = read_results(results, str(predictions), truth)
    pictures = ImageFolder(truth, images) if images else None
    completed = detection.complete_file(truth, results, found, floors, pictures, on_stage)
    metrics = {
        "schema": 1,
        "run": None,
        "job": predictions.stem,
        "task": "detection",
        "split": annotations.stem,
        "metrics": completed.metrics,
        "evaluated": now(),
    }
    on_stage("the report")
    summary = RunSummary(
        run="none",
        job=predictions.stem,
        spec={
            "task": "detection",
            "model": {"name": predictions.name},
            "data": {"name": annotations.name, "version": "as given"},
            "train": {"epochs": 0},
            "detect": {"floors": list(floors)},
        },
        record={},
        history=(),
        metrics=metrics,
        dataset={"classes": list(truth.classes)},
        **read_kept("detection", annotations.stem, completed.files.get, str(out)),
    )
    with new_folder(out) as folder:
        store = open_store(str(folder))
        for key, data in completed.files.items():
            store.write(key, data)
        replace_page(store.at("report"), build_report(summary), PAGE)
        store.write("metrics.json", json.dumps(metrics, indent=1, allow_nan=False))
    return completed.metrics


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
