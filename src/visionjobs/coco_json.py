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

LARGEST = 1e6
"""Pixels: no coordinate or side of a box is as large."""


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
            classes=_names(categories, source),
            annotation_ids=_ids(annotations, "annotations", source),
            images=_indices(annotations, "image_id", image_ids, "images", source),
            categories=_indices(annotations, "category_id", category_ids, "categories", source),
            boxes=_boxes(annotations, source, "annotations"),
            areas=_areas(annotations, source),
            crowd=np.array([_is_crowd(item) for item in annotations], np.bool_),
        )
    except KeyError as error:
        raise UserError(f"{source}: an entry lacks {error}; expected COCO's format of instances") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
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
        scores = _numbers([item["score"] for item in found])
    except KeyError as error:
        raise UserError(
            f"{source}: an entry lacks {error}; expected a JSON list of {{image_id, category_id, bbox, score}}"
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{source}: an entry has another form than COCO's format of results ({error})") from error
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise UserError(f"{source}: entry {wrong[0]} has the score {scores[wrong[0]]}; expected a number from 0 to 1")
    return Detections(images, categories, boxes, scores)


def write_results(truth: Truth, detections: Detections) -> bytes:
    """COCO's format of results: boxes to a thousandth of a pixel, scores with all the digits that float32 has, so that
    those which differ there differ in the file."""
    rows = zip(
        truth.image_ids[detections.images].tolist(),
        truth.category_ids[detections.categories].tolist(),
        detections.boxes.round(3).tolist(),
        map(str, detections.scores.astype(np.float32)),
        strict=True,
    )
    entries = (
        f'{{"image_id":{image},"category_id":{category},"bbox":{json.dumps(box)},"score":{score}}}'
        for image, category, box, score in rows
    )
    return ("[" + ",\n".join(entries) + "]\n").encode()


def write_annotations(truth: Truth) -> bytes:
    """COCO's JSON of what an evaluation needs: ids, names, sizes, boxes, areas and crowd, all as in the source.

    Segments, key points, licences and the like are not kept. Each entry stands on a line of its own.
    """
    images = [
        {"id": number, "file_name": path, "height": size[0], "width": size[1]}
        for number, path, size in zip(truth.image_ids.tolist(), truth.paths, truth.image_sizes.tolist(), strict=True)
    ]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for number, image, category, box, area, crowd in zip(
            truth.annotation_ids.tolist(), truth.image_ids[truth.images].tolist(),
            truth.category_ids[truth.categories].tolist(), truth.boxes.tolist(), truth.areas.tolist(),
            truth.crowd.tolist(), strict=True,
        )
    ]  # fmt: skip
    categories = [
        {"id": number, "name": name} for number, name in zip(truth.category_ids.tolist(), truth.classes, strict=True)
    ]
    parts = {"images": images, "annotations": annotations, "categories": categories}
    lists = (f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in part) + "\n]" for key, part in parts.items())
    return ("{" + ",\n".join(lists) + "}\n").encode()


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


def _names(categories: list[Any], source: str) -> tuple[str, ...]:
    """Those of the classes: results are kept under them."""
    names = tuple(str(category["name"]) for category in categories)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f'{source}: the name "{twice[0]}" is that of more than one category; expected names of their own'
        )
    return names


def _is_crowd(annotation: dict[str, Any]) -> bool:
    value = annotation.get("iscrowd", 0)
    if value not in (0, 1) or isinstance(value, float):
        raise TypeError(f"iscrowd is {value!r}, expected 0 or 1")
    return bool(value)


def _numbers(values: list[Any]) -> Floats:
    """float64 [n]. Raises TypeError for what is no number, a text of digits too."""
    if not all(type(value) in (float, int) for value in values):
        wrong = next(value for value in values if type(value) not in (float, int))
        raise TypeError(f"{wrong!r} is no number")
    return np.array(values, np.float64)


def _boxes(entries: list[Any], source: str, what: str) -> Floats:
    if not all(len(item["bbox"]) == 4 for item in entries):
        raise ValueError("a bbox needs 4 numbers")
    boxes = _numbers([side for item in entries for side in item["bbox"]]).reshape(-1, 4)
    wrong = np.flatnonzero(~(abs(boxes) < LARGEST).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1))
    if len(wrong):
        raise UserError(
            f"{source}: entry {wrong[0]} of the {what} has the box {boxes[wrong[0]].tolist()}; expected [x, y, width, "
            "height] in pixels, finite, and no width or height below 0"
        )
    return boxes


def _areas(annotations: list[Any], source: str) -> Floats:
    """COCO's own where they are there; some files of other sources have none."""
    areas = _numbers([item["area"] if "area" in item else item["bbox"][2] * item["bbox"][3] for item in annotations])
    wrong = np.flatnonzero(~((areas >= 0) & (areas < LARGEST**2)))
    if len(wrong):
        raise UserError(
            f"{source}: the annotation {annotations[wrong[0]]['id']} has the area {areas[wrong[0]]}; expected square "
            f"pixels, 0 or more; such annotations: {len(wrong):,}"
        )
    return areas
