"""The figures of a detector that have a published one beside them, with their definitions: at each confidence floor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from visionjobs.report.floors import PARTS
from visionjobs.report.task import Metric


@dataclass(frozen=True)
class Group:
    """metrics: with keys below a floor, 'coco.AP'; name: of their table; lead: what stands above it."""

    name: str
    lead: str
    metrics: tuple[Metric, ...]


def _coco() -> Iterable[Metric]:
    means = "Mean over the classes that have boxes of the area under the precision-recall curve (101 recalls)"
    yield Metric("coco.AP", "AP", f"{means}, averaged over the IoU .50, .55, ..., .95 from which a detection is right.")
    yield Metric("coco.AP50", "AP50", "The same at IoU .50 alone.")
    yield Metric("coco.AP75", "AP75", "The same at IoU .75 alone.")
    for letter, size in (("s", "small"), ("m", "medium"), ("l", "large")):
        yield Metric(f"coco.AP{letter}", f"AP, {size}", f"AP of {size} objects; objects of other sizes are ignored.")
    for number in (1, 10, 100):
        few = f"the {number} most confident detections" if number > 1 else "the most confident detection"
        text = f"Recall with {few} of an image and class, averaged over the same IoU and classes."
        yield Metric(f"coco.AR{number}", f"AR, {number}", text)
    for letter, size in (("s", "small"), ("m", "medium"), ("l", "large")):
        yield Metric(f"coco.AR{letter}", f"AR, {size}", f"AR of {size} objects, with 100 detections.")


ERRORS = {
    "Cls": ("wrong class", "The box is right (IoU of .5 or more), the class is not."),
    "Loc": ("badly placed", "The class is right, the box is near but not right (IoU from .1 to .5)."),
    "Both": ("class and place", "Both are wrong: a box of another class, at an IoU from .1 to .5."),
    "Dupe": ("duplicate", "It would be right, but a more confident detection has found the object."),
    "Bkg": ("background", "There is no object, of whatever class, at an IoU above .1."),
    "Miss": ("missed", "An object that no detection finds, and that no wrong class or place explains."),
}
"""TIDE's main errors: name -> in words, definition (Bolya et al., ECCV 2020, section 2.2)."""

SPECIAL = {
    "FP": ("false positives", "All wrong detections together, taken out."),
    "FN": ("false negatives", "All objects that were not found, taken out."),
}


def _tide() -> Iterable[Metric]:
    yield Metric(
        "tide.all.ap50",
        "AP50 in points",
        "As TIDE computes it: the 100 most confident detections of an image, where COCO takes 100 of each class.",
        digits=2,
    )
    for name, (words, definition) in (ERRORS | SPECIAL).items():
        yield Metric(f"tide.all.{name}", f"{name}: {words}", definition, higher_is_better=False, digits=2)
    for size in (size for size in PARTS if size != "all"):
        text = f"Of true and predicted boxes that are {size}; boxes of other sizes are dropped, as in the experiments."
        yield Metric(f"tide.{size}.ap50", f"AP50, {size}", text, digits=2)
        yield Metric(f"tide.{size}.Miss", f"Miss, {size}", "Of the same boxes.", higher_is_better=False, digits=2)


def _calibration() -> Iterable[Metric]:
    texts = {
        "d_ece": (
            "D-ECE",
            "Distance between precision and confidence: detections are matched to true boxes of their class at IoU .5, "
            "each box once; mean over 10 bins of confidence of the gap, weighted by their detections.",
        ),
        "count_ece": (
            "Count-based ECE",
            "The experiments' value: of an image and class with N objects the N most confident detections count as "
            "right, whatever their boxes.",
        ),
    }
    for key, (title, definition) in texts.items():
        for size in PARTS:
            words = title if size == "all" else f"{title}, {size}"
            text = definition if size == "all" else f"Of {size} detections."
            yield Metric(f"calibration.{size}.{key}", words, text, higher_is_better=False)


GROUPS = (
    Group(
        "COCO's twelve numbers",
        "COCO's twelve numbers, from 0 to 1. AP: average precision, AR: average recall; higher is better.",
        tuple(_coco()),
    ),
    Group(
        "TIDE's errors",
        "AP50 as TIDE computes it, and its errors, in points from 0 to 100. An error: by how much AP50 would rise if "
        "this kind of error were not there; lower is better, but only beside a like AP50: where little is found there "
        "is little to win by mending one kind alone.",
        tuple(_tide()),
    ),
    Group(
        "Calibration errors",
        "Calibration errors, from 0 to 1; lower is better.",
        tuple(_calibration()),
    ),
)


def at_floor(metric: Metric, floor: str) -> Metric:
    """The metric at this confidence floor, as reports of several floors call it."""
    return replace(metric, key=f"floors.{floor}.{metric.key}", title=f"{metric.title}, at {floor}", optional=True)


def metrics_at(floors: Iterable[str]) -> tuple[Metric, ...]:
    """All metrics at all of these floors: metric by metric."""
    floors = tuple(floors)
    return tuple(at_floor(metric, floor) for group in GROUPS for metric in group.metrics for floor in floors)
