"""Images and boxes of a raw dataset in YOLO's layout: data.yaml, images/<split>/*.jpg and labels/<split>/*.txt.

data.yaml names the classes and says where the images of train, val and test are: a folder, a text file with a path a
line, or a list of such. The labels of images/a/b.jpg are in labels/a/b.txt, a line a box: class cx cy w h, in shares of
the image's width and height; or class x1 y1 x2 y2 x3 y3 ..., a polygon, of which the bounding box is taken. An image
without a label file has no boxes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import yaml

from visionjobs.boxes import Truth
from visionjobs.data.coco_find import SPLITS, RawBoxes, RawSplit, folders_of
from visionjobs.data.importing import Hashed
from visionjobs.data.parallel import OnProgress, ordered_map
from visionjobs.data.source import Listing, Reject, Source
from visionjobs.errors import UserError

TABLES = ("data.yaml", "data.yml", "dataset.yaml")

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif")

SLACK = 0.01
"""Shares may be below 0 or above 1 by so much, as for ultralytics: what reaches out is cut."""

FORM = "expected: class cx cy width height, the last four from 0 to 1, in shares of the image's sides"

Box = tuple[int, float, float, float, float]
"""Class, and x, y of the upper left corner, width and height in shares of the image."""


def find_yolo(raw: Source, listing: Listing, threads: int, on_progress: OnProgress) -> RawBoxes:
    """Images are numbered from 1 in the order of their paths, all splits together, and boxes likewise. Raises UserError
    naming the file and line that is wrong."""
    table = next((path for path in TABLES if path in listing.files), None)
    if table is None:
        raise UserError(
            f"{raw.display}: there are labels/, but no data.yaml; write one with the lines 'train: images/train', "
            "'val: images/val' and 'names: [first class, second class, ...]'"
        )
    found = RawBoxes(rejects=list(listing.rejects))
    text = _text(raw, table, found)
    names, places = _described(text, f"{raw.display}/{table}")
    there = set(listing.files)
    images = {split: _images(raw, places[split], there, found) for split in SPLITS if split in places}
    for split, paths in images.items():
        if paths and not any(_label_path(path) in there for path in paths):
            raise UserError(
                f"{raw.display}: none of the {len(paths):,} images of the split {split} has a label file; looked for "
                f"{_label_path(paths[0])} and so on: the labels of images/SPLIT/NAME.jpg are expected in "
                "labels/SPLIT/NAME.txt"
            )
    everything = sorted({path for paths in images.values() for path in paths})
    boxes = dict(zip(everything, _labels(raw, everything, there, len(names), threads, on_progress, found), strict=True))
    numbers = {path: number for number, path in enumerate(everything, 1)}
    first = 1
    for split, paths in images.items():
        truth = _truth(paths, numbers, boxes, names, first)
        first += len(truth)
        found.splits.append(RawSplit(split, table, truth, tuple(paths), in_shares=True))
    used = {path for path, _ in found.tables} | set(everything)
    found.rejects += [Reject(path, _unused(path)) for path in listing.files if path not in used]
    return found


def _text(raw: Source, path: str, into: RawBoxes) -> str:
    text, hashed = _read(raw, path)
    into.tables.append(hashed)
    return text


def _read(raw: Source, path: str) -> tuple[str, Hashed]:
    try:
        with raw.open(path) as file:
            data = file.read()
        return data.decode("utf-8-sig"), (path, hashlib.sha256(data).digest())
    except UnicodeDecodeError as error:
        raise UserError(f"{raw.display}/{path}: is not UTF-8 text; save it as such") from error
    except OSError as error:
        raise UserError(f"{raw.display}/{path}: cannot be read: {error.strerror or error}") from error


def _described(text: str, source: str) -> tuple[list[str], dict[str, list[str]]]:
    """(class names, split -> where its images are). Raises UserError."""
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: is not valid YAML: {' '.join(str(error).split())}") from error
    names = table.get("names") if isinstance(table, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{source}: expected names: a list of class names, or a mapping from 0, 1, 2 ... to them")
    places = {}
    for split in SPLITS:
        given = table.get(split) or table.get("valid" if split == "val" else split) or []
        given = given if isinstance(given, list) else [given]
        if not all(isinstance(place, str) for place in given):
            raise UserError(f"{source}: {split}: expected a folder, a text file, or a list of such; got {given}")
        if given:
            base = table.get("path") or ""
            places[split] = [place if place.startswith("/") else f"{base}/{place}" for place in given]
    if not places:
        raise UserError(f"{source}: has none of train, val and test; expected where their images are")
    return [str(name) for name in names], places


def _images(raw: Source, places: Sequence[str], there: set[str], into: RawBoxes) -> list[str]:
    """Paths of a split's images, sorted."""
    images: set[str] = set()
    known = there | folders_of(there)
    for place in places:
        inside = _inside(place, known)
        if not inside:
            raise UserError(
                f"{raw.display}: data.yaml names {place.strip('/')}, and there is no such folder or text file here; "
                "give it relative to the folder of data.yaml"
            )
        if inside in there:
            for number, line in enumerate(_text(raw, inside, into).splitlines(), 1):
                if line.strip():
                    images |= _listed(line.strip(), f"{inside}, line {number}", there, into)
        else:
            below = {path for path in there if path.startswith(f"{inside}/")}
            images |= {path for path in below if PurePosixPath(path).suffix.lower() in ENDINGS}
    return sorted(images)


def _listed(name: str, here: str, there: set[str], into: RawBoxes) -> set[str]:
    """The image that a line of a list names; one that is not there joins the rejects."""
    if path := _inside(name, there):
        return {path}
    into.rejects.append(Reject(name, f"named in {here}, but there is no such file"))
    return set()


def _inside(place: str, known: set[str]) -> str:
    """A place as written in data.yaml, as one of `known`: it may begin with the path of where the dataset once lay.
    "" where there is none."""
    parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        if (path := "/".join(parts[start:])) in known:
            return path
    return ""


def _label_path(image: str) -> str:
    """As ultralytics: the last folder called images becomes labels, the ending .txt."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return "/".join(parts)


@dataclass(frozen=True, slots=True)
class _Labels:
    boxes: list[Box]
    hashed: Hashed | None


def _labels(
    raw: Source, images: Sequence[str], there: set[str], classes: int, threads: int, on_progress: OnProgress,
    into: RawBoxes,
) -> list[list[Box]]:  # fmt: skip
    """The boxes of each image."""
    boxes = []
    with closing(ordered_map(partial(_read_labels, raw, there, classes), images, threads)) as results:
        for done, found in enumerate(results, 1):
            boxes.append(found.boxes)
            if found.hashed:
                into.tables.append(found.hashed)
            on_progress("Reading labels", done, len(images))
    return boxes


def _read_labels(raw: Source, there: set[str], classes: int, image: str) -> _Labels:
    path = _label_path(image)
    if path not in there or path == image:
        return _Labels([], None)
    text, hashed = _read(raw, path)
    lines = enumerate(text.splitlines(), 1)
    boxes = [_box(line.split(), classes, f"{raw.display}/{path}, line {n}") for n, line in lines if line.strip()]
    return _Labels(boxes, hashed)


def _box(words: Sequence[str], classes: int, here: str) -> Box:
    """Raises UserError saying what is wrong with the line `here`."""
    try:
        number, *values = (float(word) for word in words)
    except ValueError as error:
        raise UserError(f"{here}: {' '.join(words)[:60]!r} is not only numbers; {FORM}") from error
    if not number.is_integer() or not 0 <= number < classes:
        raise UserError(f"{here}: the class {words[0]} is none of data.yaml's names, 0 to {classes - 1}")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise UserError(f"{here}: has {len(words)} numbers; {FORM}")
    if not all(math.isfinite(value) and -SLACK <= value <= 1 + SLACK for value in values):
        raise UserError(f"{here}: {' '.join(words)[:60]!r} is out of range; {FORM}")
    if len(values) > 4:
        across, down = values[0::2], values[1::2]
        return int(number), min(across), min(down), max(across) - min(across), max(down) - min(down)
    cx, cy, width, height = values
    if width < 0 or height < 0:
        raise UserError(f"{here}: a negative width or height; {FORM}")
    return int(number), cx - width / 2, cy - height / 2, width, height


def _truth(
    paths: Sequence[str], numbers: dict[str, int], boxes: dict[str, list[Box]], names: Sequence[str], first: int
) -> Truth:
    """A split's images with the boxes in shares; the areas are not known yet. first: the first box's number."""
    rows = [(place, *box) for place, path in enumerate(paths) for box in boxes[path]]
    columns = np.array(rows, np.float64).reshape(-1, 6)
    return Truth(
        image_ids=np.array([numbers[path] for path in paths], np.int64), paths=tuple(paths),
        image_sizes=np.zeros((len(paths), 2), np.int64), category_ids=np.arange(len(names)), classes=tuple(names),
        annotation_ids=np.arange(first, first + len(rows)), images=columns[:, 0].astype(np.int64),
        categories=columns[:, 1].astype(np.int64), boxes=columns[:, 2:], areas=np.zeros(len(rows)),
        crowd=np.zeros(len(rows), np.bool_),
    )  # fmt: skip


def _unused(path: str) -> str:
    if path.startswith("labels/") or "/labels/" in path:
        return "a label without an image"
    return "not an image of a split that data.yaml names"
