"""Small sets of boxes, and the greedy match in plain Python, written from COCOeval's rules: the tests' reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from visionjobs.boxes import Detections, Truth

Box = tuple[float, float, float, float]


def truth_of(
    boxes: Sequence[Box],
    images: Sequence[int] | None = None,
    categories: Sequence[int] | None = None,
    *,
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float] | None = None,
    number: int = 3,
    classes: int = 3,
) -> Truth:
    """`number` images and `classes` classes; all boxes are of the first ones where it is not said."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    zeros = [0] * len(array)
    return Truth(
        image_ids=np.arange(number) * 10 + 7,
        paths=tuple(f"{image}.jpg" for image in range(number)),
        image_sizes=np.full((number, 2), 1000),
        category_ids=np.arange(classes) * 2 + 1,
        classes=tuple(f"class {k}" for k in range(classes)),
        annotation_ids=np.arange(len(array)) + 1,
        images=np.array(images if images is not None else zeros, np.int64),
        categories=np.array(categories if categories is not None else zeros, np.int64),
        boxes=array,
        areas=np.array(areas, np.float64) if areas is not None else array[:, 2] * array[:, 3],
        crowd=np.array(crowd if crowd is not None else zeros, np.bool_),
    )


def detections_of(
    boxes: Sequence[Box],
    scores: Sequence[float],
    images: Sequence[int] | None = None,
    categories: Sequence[int] | None = None,
) -> Detections:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    zeros = [0] * len(array)
    return Detections(
        images=np.array(images if images is not None else zeros, np.int64),
        categories=np.array(categories if categories is not None else zeros, np.int64),
        boxes=array,
        scores=np.array(scores, np.float64),
    )


def plain_iou(a: Sequence[float], b: Sequence[float], crowd: bool) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    union = a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - width * height
    return width * height / union


@dataclasses.dataclass
class Found:
    """Of one detection, as in Matches."""

    truth: int = -1
    iou: float = 0.0
    ignored: bool = False
    evaluated: bool = False


def plain_match(truth: Truth, detections: Detections, iou: float, max_dets: int) -> list[Found]:
    found = [Found() for _ in range(len(detections))]
    free = set(np.flatnonzero(~truth.crowd).tolist())
    seen: dict[int, int] = {}
    for d in sorted(range(len(detections)), key=lambda d: -detections.scores[d]):
        image, category = int(detections.images[d]), int(detections.categories[d])
        seen[image] = seen.get(image, 0) + 1
        if seen[image] > max_dets:
            continue
        found[d].evaluated = True
        in_crowd = False
        for g in range(len(truth)):
            if truth.images[g] != image or truth.categories[g] != category:
                continue
            value = plain_iou(detections.boxes[d].tolist(), truth.boxes[g].tolist(), bool(truth.crowd[g]))
            if value <= 0 or value < iou:
                continue
            if truth.crowd[g]:
                in_crowd = True
            elif g in free and value >= found[d].iou:
                found[d].truth, found[d].iou = g, value
        free.discard(found[d].truth)
        found[d].ignored = in_crowd and found[d].truth < 0
    return found


@st.composite
def cases(draw: st.DrawFn, most: int = 14) -> tuple[Truth, Detections]:
    """Boxes in few places and of few sizes around COCO's limits, with few different scores: full of ties."""
    side = st.sampled_from([20.0, 31.0, 32.0, 33.0, 40.0, 96.0, 97.0])
    place = st.sampled_from([0.0, 4.0, 8.0, 16.0, 50.0])
    box = st.tuples(place, place, side, side)
    image, category = st.integers(0, 2), st.integers(0, 2)
    true = draw(
        st.lists(st.tuples(box, image, category, st.integers(0, 4), st.sampled_from([1.0, 0.6])), max_size=most)
    )
    score = st.one_of(st.integers(0, 10).map(lambda m: m / 10), st.floats(0, 1))
    found = draw(st.lists(st.tuples(box, image, category, score), max_size=most))
    truth = truth_of(
        [t[0] for t in true],
        [t[1] for t in true],
        [t[2] for t in true],
        crowd=[t[3] == 0 for t in true],
        areas=[t[0][2] * t[0][3] * t[4] for t in true],
    )
    return truth, detections_of(
        [d[0] for d in found], [d[3] for d in found], [d[1] for d in found], [d[2] for d in found]
    )
