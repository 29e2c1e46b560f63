"""COCO's two JSON formats: annotations (instances_*.json) and results, read with checks that name what is wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from visionjobs.boxes import Detections, Floats, Ints, Truth
from visionjobs.errors import UserError

RESULTS = "predictions/coco_predictions.json"
ANNOTATIONS = "predictions/annotations.json"
"""Where a run keeps the boxes that it found, above its lowest floor, and the true ones that they are measured by."""


def read_annotations(data: bytes, source: str) -> Truth:
    """The contents of an annotation file. Raises UserError naming `source` and the entry that is wrong.

    Boxes are taken as they are: whether they lie inside their images is checked when a dataset is imported.
    """
    found = _parsed(data, source)
    if not isinstance(found, dict):
        raise UserError(f"{source}: expected a JSON object with images, annotations and categories")
    images, annotations, categories = (_entries(found, key, source) for key in ("images", "annotations", "categories"))
    if not categories:
        raise UserError(f"{source}: its categories are empty; expected COCO's list of {{id, name}}")
    if not images:
        raise UserError(f"{source}: its images are empty; expected COCO's list of {{id, file_name, width, height}}")
    try:
        images = sorted(images, key=lambda image: image["id"])
        categories = sorted(categories, key=lambda category: category["id"])
        image_ids = _ids(images, "images", source)
        category_ids = _ids(categories, "categories", source)
        return Truth(
            image_ids=image_ids,
            paths=tuple(str(image["file_name"]) for image in images),
            image_sizes=np.array(
                [[image.get("height", 0), image.get("width", 0)] for image in images], np.int64
            ).reshape(-1, 2),
            category_ids=category_ids,
            classes=tuple(str(category["name"]) for category in categories),
            annotation_ids=_ids(annotations, "annotations", source),
            images=_indices(annotations, "image_id", image_ids, "images", source),
            categories=_indices(annotations, "category_id", category_ids, "categories", source),
            boxes=_boxes(annotations, source, "annotations"),
            areas=np.array([_area(item) for item in annotations], np.float64),
            crowd=np.array([bool(item.get("iscrowd", 0)) for item in annotations], np.bool_),
        )
    except KeyError as error:
        raise UserError(f"{source}: an entry lacks {error}; expected COCO's format of instances") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source}: an entry has another form than COCO's format of instances ({error})") from error


def read_results(data: bytes, source: str, truth: Truth) -> Detections:
    """The contents of a results file: a list of {image_id, category_id, bbox, score}, of the images of `truth`.

    Raises UserError naming `source` and the entry that is wrong.
    """
    found = _parsed(data, source)
    if not isinstance(found, list):
        raise UserError(f"{source}: expected a JSON list of {{image_id, category_id, bbox, score}}")
    try:
        images = _indices(found, "image_id", truth.image_ids, "images", source)
        categories = _indices(found, "category_id", truth.category_ids, "categories", source)
        boxes = _boxes(found, source, "results")
        scores = np.array([item["score"] for item in found], np.float64)
    except KeyError as error:
        raise UserError(
            f"{source}: an entry lacks {error}; expected a JSON list of {{image_id, category_id, bbox, score}}"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source}: an entry has another form than COCO's format of results ({error})") from error
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise UserError(f"{source}: entry {wrong[0]} has the score {scores[wrong[0]]}; expected a number from 0 to 1")
    return Detections(images, categories, boxes, scores)


def write_results(truth: Truth, detections: Detections) -> bytes:
    """COCO's format of results: boxes to a thousandth of a pixel, scores to 6 digits after the point."""
    rows = zip(
        truth.image_ids[detections.images].tolist(),
        truth.category_ids[detections.categories].tolist(),
        detections.boxes.round(3).tolist(),
        detections.scores.round(6).tolist(),
        strict=True,
    )
    entries = (
        f'{{"image_id":{image},"category_id":{category},"bbox":{json.dumps(box)},"score":{score}}}'
        for image, category, box, score in rows
    )
    return ("[" + ",\n".join(entries) + "]\n").encode()


def write_annotations(truth: Truth) -> bytes:
    """COCO's format of instances, as `read_annotations` reads it: boxes only, without segments and captions."""
    images = zip(truth.image_ids.tolist(), truth.paths, truth.image_sizes.tolist(), strict=True)
    boxes = zip(
        truth.annotation_ids.tolist(), truth.image_ids[truth.images].tolist(),
        truth.category_ids[truth.categories].tolist(), truth.boxes.tolist(), truth.areas.tolist(),
        truth.crowd.astype(int).tolist(), strict=True,
    )  # fmt: skip
    names = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    content = {
        "images": [
            {"id": number, "file_name": path, "height": height, "width": width}
            for number, path, (height, width) in images
        ],
        "annotations": [dict(zip(names, values, strict=True)) for values in boxes],
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(truth.category_ids.tolist(), truth.classes, strict=True)
        ],
    }
    return json.dumps(content, indent=0).encode()


def _parsed(data: bytes, source: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error}): it was cut off, or is another kind of file") from error


def _entries(found: dict[str, Any], key: str, source: str) -> list[Any]:
    value = found.get(key)
    if not isinstance(value, list):
        raise UserError(f'{source}: has no list of "{key}"; expected images, annotations and categories, as in COCO')
    return value


def _ids(entries: list[Any], what: str, source: str) -> Ints:
    ids = np.array([_whole(item["id"]) for item in entries], np.int64)
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        raise UserError(f"{source}: the id {unique[counts > 1][0]} occurs more than once in {what}")
    return ids


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _indices(entries: list[Any], key: str, ids: Ints, what: str, source: str) -> Ints:
    """Where each entry's `key` stands in `ids`, which ascend."""
    wanted = np.array([_whole(item[key]) for item in entries], np.int64)
    places = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
    unknown = np.flatnonzero(ids[places] != wanted)
    if len(unknown):
        raise UserError(
            f"{source}: entry {unknown[0]} has the {key} {wanted[unknown[0]]}, which is none of the annotations' "
            f"{what}; such entries: {len(unknown):,} of {len(entries):,}"
        )
    return places.astype(np.int64)


def _boxes(entries: list[Any], source: str, what: str) -> Floats:
    if not all(len(item["bbox"]) == 4 for item in entries):
        raise ValueError("a bbox needs 4 numbers")
    boxes = np.array([item["bbox"] for item in entries], np.float64).reshape(-1, 4)
    wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1))
    if len(wrong):
        raise UserError(
            f"{source}: entry {wrong[0]} of the {what} has the box {boxes[wrong[0]].tolist()}; expected [x, y, width, "
            "height] in pixels, finite, and no width or height below 0"
        )
    return boxes


def _area(annotation: dict[str, Any]) -> float:
    """COCO's own where it is there; some files of other sources have none."""
    width, height = annotation["bbox"][2:]
    return float(annotation.get("area", width * height))
