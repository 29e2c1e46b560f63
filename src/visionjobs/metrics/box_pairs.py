"""Pairs of boxes within the same image or the same image and class, and their IoU, for many images at once."""

from __future__ import annotations

import numpy as np

from visionjobs.boxes import Bools, Floats, Ints


def pairs(groups_a: Ints, groups_b: Ints) -> tuple[Ints, Ints]:
    """All (i, j) with groups_a[i] == groups_b[j], as two int64 arrays, by i and then by j."""
    order = np.argsort(groups_b, kind="stable")
    ordered = groups_b[order]
    first = np.searchsorted(ordered, groups_a, side="left")
    number = np.searchsorted(ordered, groups_a, side="right") - first
    i = np.repeat(np.arange(len(groups_a)), number)
    within = np.arange(len(i)) - np.repeat(np.cumsum(number) - number, number)
    return i, order[np.repeat(first, number) + within]


def iou(a: Floats, b: Floats, crowd: Bools | None = None) -> Floats:
    """IoU of a[k] with b[k], boxes (x, y, width, height): float64 [k], 0 where both are empty.

    Where crowd[k], b[k] is a crowd region and the intersection is divided by the area of a[k] alone, as in COCO
    (pycocotools' maskApi.c, bbIou).
    """
    width = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    inside = width.clip(min=0) * height.clip(min=0)
    area_a = a[:, 2] * a[:, 3]
    union = area_a + b[:, 2] * b[:, 3] - inside
    if crowd is not None:
        union = np.where(crowd, area_a, union)
    return np.asarray(np.divide(inside, union, out=np.zeros_like(inside), where=union > 0))
