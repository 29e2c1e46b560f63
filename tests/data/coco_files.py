"""Small raw detection datasets, in COCO's layout and in YOLO's, for the tests of the import."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from import_helpers import jpeg, write_files

from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.coco import import_coco
from visionjobs.data.importing import ImportResult
from visionjobs.data.manifest import INDEX
from visionjobs.storage import Store

CATEGORIES = {1: "ape", 3: "bear", 7: "cat"}

SIZES = {"train": 4, "val": 3}


def image_id(split: str, number: int) -> int:
    return 10 * number + (1000 if split == "val" else 0)


def size_of(number: int) -> tuple[int, int]:
    """Width and height."""
    return 40 + number, 30 - number


def boxes(split: str, number: int) -> list[dict[str, Any]]:
    """Two boxes and on the first image a crowd region; the last image has none."""
    if number == SIZES[split] - 1:
        return []
    first = 100 * image_id(split, number)
    made = [
        {"id": first + 1, "category_id": 1, "bbox": [2.5, 3, 10.25, 8], "area": 50.5, "iscrowd": 0},
        {"id": first + 2, "category_id": 7, "bbox": [0, 0, 5, 6], "area": 30, "iscrowd": 0, "segmentation": [[0, 0]]},
    ]
    if number == 0:
        made.append({"id": first + 3, "category_id": 1, "bbox": [20, 1, 12, 9], "area": 77, "iscrowd": 1})
    return [{**box, "image_id": image_id(split, number)} for box in made]


def instances(split: str) -> dict[str, Any]:
    """The contents of a split's annotation file."""
    numbers = range(SIZES[split])
    return {
        "info": {"year": 2017},
        "images": [
            {"id": image_id(split, n), "file_name": f"{image_id(split, n):05d}.jpg", "license": 1,
             "width": size_of(n)[0], "height": size_of(n)[1]}
            for n in numbers
        ],
        "annotations": [box for n in numbers for box in boxes(split, n)],
        "categories": [{"id": number, "name": name, "supercategory": "x"} for number, name in CATEGORIES.items()],
    }  # fmt: skip


def picture_of(split: str, number: int) -> bytes:
    return jpeg(image_id(split, number), *size_of(number))


def coco(folder: str = "{}2017", **annotations: dict[str, Any]) -> dict[str, bytes]:
    """Path -> bytes in COCO's layout. folder: of a split's images; annotations: split -> those to use instead."""
    files = {}
    for split, images in SIZES.items():
        found = annotations.get(split) or instances(split)
        files[f"annotations/instances_{split}2017.json"] = json.dumps(found).encode()
        for number in range(images):
            files[f"{folder.format(split)}/{image_id(split, number):05d}.jpg"] = picture_of(split, number)
    return files


def only(split: str, files: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return {path: data for path, data in (files or coco()).items() if split in path}


LINES = "0 0.5 0.5 0.25 0.5\n\n1 0.125 0.25 0.25 0.5\n"


def yolo(**texts: str) -> dict[str, bytes]:
    """Path -> bytes in YOLO's layout: 3 training and 2 validation images, the last of each without labels. texts:
    other contents of data_yaml."""
    described = "path: ../datasets/zoo\ntrain: images/train\nval: images/val\nnames: {0: ape, 1: bear}\n"
    files = {"data.yaml": texts.get("data_yaml", described).encode()}
    for split, images in (("train", 3), ("val", 2)):
        for number in range(images):
            files[f"images/{split}/{split}_{number}.jpg"] = jpeg(100 * images + number, 40, 20)
            if number < images - 1:
                files[f"labels/{split}/{split}_{number}.txt"] = LINES.encode()
    return files


def run(source: Path, root: Store, **options: Any) -> ImportResult:
    return import_coco(str(source), "zoo", root, **options)


def made(tmp_path: Path, files: dict[str, bytes], root: Store, **options: Any) -> ImportResult:
    return run(write_files(tmp_path / "raw", files), root, **options)


def local(result: ImportResult, tmp_path: Path) -> LocalDataset:
    return fetch(DatasetRef(result.store, result.manifest), tmp_path / "cache")


def index_of(result: ImportResult) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(result.store.read(INDEX))).to_pylist()
    return rows


def told(result: ImportResult) -> dict[str, str]:
    return {reject.path: reject.reason for reject in result.rejects}
