"""The section with precision-recall curves: the mean over the classes, and the best and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visionjobs.boxes import Floats, floor_key
from visionjobs.detection_curves import IOUS, RECALLS, DetectionCurves
from visionjobs.report.figures_curves import precision_recall
from visionjobs.report.page import Block, Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary

FEW = 3
"""Classes drawn of the best and of the worst."""

READ = (
    "Precision at 101 recalls, as COCO takes it: the highest at this recall or a higher one, and 0 at recalls that are "
    "never reached. The area under a curve is the AP at its IoU, which its label tells. A higher confidence floor "
    "cuts each class's curve off at the recall that it still reaches."
)


def pr_curves(run: RunSummary) -> Section | None:
    """Mean curves, and those of the best and worst classes at each floor; None without curves."""
    curves = run.curves
    if curves is None or np.isnan(curves.precisions).all():
        return None
    blocks: list[Block] = [Text(READ), Gallery(tuple(_means(curves)))]
    blocks += [Gallery(tuple(_classes(curves, at))) for at in range(len(curves.floors))]
    return Section("curves", "Precision and recall", tuple(blocks))


def _means(curves: DetectionCurves) -> Iterator[Figure]:
    there = ~np.isnan(curves.precisions[0, 0]).all(axis=1)
    for place, iou in enumerate(IOUS):
        means = curves.precisions[:, place, there].mean(axis=1)
        lines = [
            (f"at {floor_key(floor)}: AP {mean.mean():.3f}", mean)
            for floor, mean in zip(curves.floors.tolist(), means, strict=True)
        ]
        caption = f"Mean precision over the {there.sum()} classes with true boxes, IoU {iou:g}, by confidence floor"
        yield Figure(f"pr_mean_{_name(iou)}", precision_recall(RECALLS, lines), caption)


def _classes(curves: DetectionCurves, at: int) -> Iterator[Figure]:
    floor = floor_key(float(curves.floors[at]))
    for place, iou in enumerate(IOUS):
        precisions = curves.precisions[at, place]
        chosen, told = _best_and_worst(precisions)
        lines = [(f"{curves.classes[k]}: {precisions[k].mean():.3f}", precisions[k]) for k in chosen]
        caption = f"{told}, IoU {iou:g}, confidence of at least {floor}"
        yield Figure(f"pr_classes_{floor}_{_name(iou)}", precision_recall(RECALLS, lines), caption)


def _best_and_worst(precisions: Floats) -> tuple[list[int], str]:
    """Classes by AP, descending, and what they are; all where there are no more than both together."""
    there = np.flatnonzero(~np.isnan(precisions).all(axis=1))
    order = there[np.argsort(-precisions[there].mean(axis=1), kind="stable")].tolist()
    if len(order) <= 2 * FEW:
        return order, f"The {len(order)} classes with true boxes" if len(order) > 1 else "The one class with true boxes"
    return [*order[:FEW], *order[-FEW:]], f"The {FEW} classes with the highest and the {FEW} with the lowest AP"


def _name(iou: float) -> str:
    return f"{100 * iou:.0f}"
