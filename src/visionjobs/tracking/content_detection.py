"""What of a detection run goes to wandb, besides what every run has."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from visionjobs.boxes import SIZES, floor_key
from visionjobs.detection_curves import IOUS, RECALLS
from visionjobs.report.box_calibration import OF_CLASS
from visionjobs.report.box_gallery import label_errors, worst_images
from visionjobs.report.page import Gallery, Section
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.tracking.content_charts import bars, lines, with_full
from visionjobs.tracking.messages import Chart, Picture, Table

SCORES = ("AP", "AP50", "AP75", "AR100", "detections")
"""Of each class at each confidence floor, as in metrics.json."""

ERRORS = ("ap50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FP", "FN")
CALIBRATION = ("d_ece", "la_ece0", "adaptive_ece", "count_ece", "d_ece_filtered")
READINGS = {"tide": "filtered", "tide_ignore": "ignored"}
"""What TIDE does with boxes of other sizes; by the key in metrics.json."""

KINDS = {"boxes": "boxes", "images": "counts"}
"""What a class is counted in -> the key of the manifest."""

Floors = Mapping[str, Mapping[str, Any]]


def tables(run: RunSummary) -> dict[str, Table]:
    """COCO's numbers, those of each class, TIDE's errors, calibration by size; boxes and images of each class."""
    floors: Floors = run.values.get("floors") or {}
    counted = _counted(run)
    names = (run.dataset.get("classes") or ()) if counted else ()
    return {
        "coco": _coco(floors),
        "per_class": _per_class(floors),
        "tide": Table(("confidence", "size", "others", *ERRORS), tuple(_tide(floors))),
        "calibration": Table(
            ("confidence", "size", *CALIBRATION, "by chance", "by chance, 95 %", "detections"),
            tuple(_calibration(floors)),
        ),
        "reliability": Table(("confidence", "size", "low", "high", "n", "mean", "precision"), tuple(_bins(floors))),
        "class_distribution": Table(
            ("class", *counted), tuple((name, *(counts[name] for counts in counted.values())) for name in names)
        ),
    }


def _coco(floors: Floors) -> Table:
    names = next(iter(floors.values()), {}).get("coco") or ()
    rows = ((name, *(found["coco"].get(name) for found in floors.values())) for name in names)
    return Table(("metric", *(f"confidence {floor}" for floor in floors)), tuple(rows))


def _per_class(floors: Floors) -> Table:
    """A row a class: its true boxes, then its numbers at each floor."""
    first = next(iter(floors.values()), {}).get("per_class") or {}
    rows = []
    for name, described in first.items():
        row = [name, described.get("boxes")]
        for found in floors.values():
            of_class, calibrated = found["per_class"].get(name, {}), found["calibration"]["per_class"].get(name, {})
            row += [of_class.get(key) for key in SCORES] + [calibrated.get(key) for key in OF_CLASS]
        rows.append(tuple(row))
    heads = (f"{key} {floor}" for floor in floors for key in (*SCORES, *OF_CLASS))
    return Table(("class", "boxes", *heads), tuple(rows))


def _tide(floors: Floors) -> Iterator[tuple[Any, ...]]:
    for floor, found in floors.items():
        for reading, others in READINGS.items():
            for size, errors in (found.get(reading) or {}).items():
                yield floor, size, None if size == "all" else others, *(errors.get(name) for name in ERRORS)


def _calibration(floors: Floors) -> Iterator[tuple[Any, ...]]:
    for floor, size, found in _by_size(floors):
        expected, of = found.get("expected") or {}, (found.get("of") or {}).get("d_ece") or {}
        values = (found.get(name) for name in CALIBRATION)
        yield floor, size, *values, expected.get("mean"), expected.get("high"), of.get("n")


def _bins(floors: Floors) -> Iterator[tuple[Any, ...]]:
    keys = ("low", "high", "n", "confidence", "precision")
    for floor, size, found in _by_size(floors):
        for one in found.get("reliability") or ():
            yield floor, size, *(one.get(key) for key in keys)


def _by_size(floors: Floors) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for floor, found in floors.items():
        for size in SIZES:
            yield floor, size, found["calibration"].get(size) or {}


def _counted(run: RunSummary) -> dict[str, Mapping[str, int]]:
    """ "val boxes" -> class -> number."""
    return {
        f"{split} {unit}": counts
        for unit, key in KINDS.items()
        for split, counts in with_full(run, run.dataset.get(key) or {}).items()
    }


def charts(run: RunSummary) -> Iterator[Chart]:
    """AP of each class, precision by recall, and precision by confidence, at each floor; boxes and images a class."""
    floors: Floors = run.values.get("floors") or {}
    for floor, found in floors.items():
        aps = {name: ap for name, of in found["per_class"].items() if (ap := as_number(of.get("AP"))) is not None}
        yield bars(f"class AP {floor}", aps, "AP")
        yield lines(f"reliability {floor}", ("confidence", "precision", "size"), tuple(_reliability(found)))
    for floor, points in _curves(run):
        yield lines(f"precision recall {floor}", ("recall", "precision", "IoU"), points)
    for split, counts in _counted(run).items():
        unit = split.rpartition(" ")[2]
        yield bars(f"class {unit} {split.removesuffix(f' {unit}')}", counts, unit)


def _reliability(found: Mapping[str, Any]) -> Iterator[tuple[float, float, str]]:
    for _, size, of_size in _by_size({"": found}):
        for one in of_size.get("reliability") or ():
            if one["n"]:
                yield one["confidence"], one["precision"], size


def _curves(run: RunSummary) -> Iterator[tuple[str, Sequence[tuple[float, float, str]]]]:
    """Of each floor, the mean over the classes that have true boxes."""
    if run.curves is None:
        return
    for number, floor in enumerate(run.curves.floors):
        found = run.curves.precisions[number]
        there = ~np.isnan(found[0, :, 0])
        if there.any():
            means = found[:, there].mean(axis=1)
            points = [
                (float(recall), float(precision), f"{iou:g}")
                for iou, curve in zip(IOUS, means, strict=True)
                for recall, precision in zip(RECALLS, curve, strict=True)
            ]
            yield floor_key(float(floor)), points


def pictures(run: RunSummary) -> dict[str, tuple[Picture, ...]]:
    """The images with most errors, and those whose labels may be wrong, as the report draws them; first the legend."""
    sections = {"worst_images": worst_images(run), "label_errors": label_errors(run)}
    return {key: tuple(_drawn(section)) for key, section in sections.items() if section is not None}


def _drawn(section: Section) -> Iterator[Picture]:
    for figure in (figure for block in section.blocks if isinstance(block, Gallery) for figure in block.figures):
        with Image.open(io.BytesIO(figure.png)) as image:
            yield Picture(np.array(image.convert("RGB")), figure.caption)
