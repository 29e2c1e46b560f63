"""What the detection task adds to a report."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.box_calibration import box_calibration
from visionjobs.report.box_gallery import label_errors, worst_images
from visionjobs.report.class_aps import class_aps
from visionjobs.report.confidences import confidences
from visionjobs.report.detection_metrics import metrics_at
from visionjobs.report.detection_results import detection_results
from visionjobs.report.floors import counted, floors, listed
from visionjobs.report.formatting import count, decimal, plain
from visionjobs.report.object_sizes import object_sizes
from visionjobs.report.page import Section, Tile
from visionjobs.report.pr_curves import pr_curves
from visionjobs.report.results import metric_tile
from visionjobs.report.summary import RunSummary
from visionjobs.report.task import CurveFigure, TaskReport
from visionjobs.report.tide_errors import tide_errors

SCORE = "val_map"

FLOORS = ("0.001", "0.25")
"""Those that a job has where it does not say otherwise (spec.py)."""

METRICS = metrics_at(FLOORS)

CURVES = (
    CurveFigure("loss", "Training loss by epoch", "loss", {"all terms": "train_loss"}, (0.0, None)),
    CurveFigure(
        "loss_terms",
        "Terms of the training loss by epoch",
        "loss",
        {"box": "train_box", "class": "train_cls", "distribution of edges": "train_dfl"},
        (0.0, None),
    ),
    CurveFigure(
        "map",
        "mAP by epoch on the validation split, as ultralytics computes it",
        "mAP",
        {"IoU .50": "val_map50", "IoU .50 to .95": SCORE},
        (0.0, 1.0),
    ),
)

COLUMNS = {
    "train_loss": "Training loss",
    "train_box": "Box term",
    "train_cls": "Class term",
    "train_dfl": "Edge term",
    "val_map50": "Validation mAP50",
    "val_map": "Validation mAP",
}

COLUMNS_EXPLAINED = (
    "The training loss is the sum of ultralytics' terms: overlap of the boxes, classes, and the distribution of the "
    "boxes' edges, each with its weight. Validation mAP50 and mAP are ultralytics' own, of the weights at the end of "
    "the epoch (their moving average); COCO's AP, which the results show, is computed otherwise."
)


def samples(run: RunSummary) -> int:
    """Number of images that were evaluated."""
    return int(run.values.get("images") or 0)


def tiles(run: RunSummary) -> tuple[Tile, ...]:
    """The headline's numbers: AP and AP50 at each floor, of the rest the highest floor's with the others below."""
    found = floors(run)
    aps = [
        metric_tile(run, f"floors.{floor}.coco.{key}", f"{key} at {floor}") for floor in found for key in ("AP", "AP50")
    ]
    eces = {floor: decimal(run.value(f"floors.{floor}.calibration.all.d_ece")) for floor in found}
    boxes = {floor: count(run.value(f"floors.{floor}.detections")) for floor in found}
    others = [
        Tile(f"{label} at {last}", values[last], more=tuple(f"{values[key]} at {key}" for key in list(found)[:-1]))
        for label, values in (("D-ECE", eces), ("Detections", boxes))
        for last in list(found)[-1:]
    ]
    if not run.trains:
        return (*aps, *others)
    best = run.best_epoch(SCORE)
    detail = "" if best is None else f"of {len(run.history)}, by ultralytics' validation mAP"
    return (*aps, *others, Tile("Best epoch", plain(best), detail))


def remarks(run: RunSummary) -> Iterator[str]:
    """Sentences on classes without boxes and classes never predicted, on crowds, and on what an import changed."""
    found = floors(run)
    if found:
        lowest, scores = next(iter(found)), next(iter(found.values())).get("per_class") or {}
        absent = [name for name, of in scores.items() if not of["boxes"]]
        never = [name for name, of in scores.items() if of["boxes"] and not of["detections"]]
        if absent:
            yield f"Without boxes in this split: {_named(absent)}. Their figures are n/a, and means leave them out."
        if never and len(never) + len(absent) == len(scores):
            yield f"Nothing was predicted, even at a confidence of {lowest}."
        elif never:
            yield f"Never predicted, even at a confidence of {lowest}: {_named(never)}. Their AP is 0."
    if crowd := run.values.get("crowd"):
        yield (
            f"{counted(crowd, 'crowd region')} beside "
            f"{counted(run.values.get('boxes') or 0, 'true box', 'true boxes')}: such a region is neither to be found, "
            "nor is a detection of its class in it wrong."
        )
    if clipped := run.dataset.get("clipped"):
        yield f"{counted(clipped, 'box', 'boxes')} reached out of the image, cut when the dataset was imported."
    if empty := run.dataset.get("empty"):
        yield f"{counted(empty, 'box', 'boxes')} without an area, left out when the dataset was imported."


MOST_NAMED = 10


def _named(names: list[str]) -> str:
    shown = [f'"{name}"' for name in names[:MOST_NAMED]]
    quoted = listed(shown if len(names) <= MOST_NAMED else [*shown, f"{len(names) - MOST_NAMED} more"])
    return f"the class {quoted}" if len(names) == 1 else f"the {len(names)} classes {quoted}"


def sections(run: RunSummary) -> tuple[Section, ...]:
    """What follows the training; a section that has nothing to tell is left out."""
    made = (
        class_aps(run),
        pr_curves(run),
        tide_errors(run),
        object_sizes(run),
        box_calibration(run),
        confidences(run),
        worst_images(run),
        label_errors(run),
    )
    return tuple(section for section in made if section is not None)


REPORT = TaskReport(
    unit="images",
    metrics=METRICS,
    score=SCORE,
    score_name="validation mAP as ultralytics computes it",
    curves=CURVES,
    columns=COLUMNS,
    columns_explained=COLUMNS_EXPLAINED,
    samples=samples,
    tiles=tiles,
    remarks=remarks,
    sections=sections,
    results=detection_results,
)
