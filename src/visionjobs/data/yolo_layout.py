"""A packed detection dataset as YOLO's layout on a local disk, for ultralytics' trainer.

<folder>/<name>-<version>/
    images/<split>/<image id>.jpg      12 digits, the file as it was imported
    labels/<split>/<image id>.txt      a line a box: class cx cy w h, in shares of the image; empty where it has none
    data.yaml                          path, the splits' folders, names
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path, PurePosixPath

import filelock
import numpy as np
import yaml
from PIL import ExifTags, Image

from visionjobs.boxes import Truth
from visionjobs.data.cache import LocalDataset
from visionjobs.data.coco_dataset import BoxSplit, decode_rgb, open_boxes
from visionjobs.errors import StorageError

DATA_YAML = "data.yaml"

KNOWN = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings that ultralytics reads; others are written as PNG."""


def write_yolo(local: LocalDataset, folder: Path) -> Path:
    """Write the dataset below `folder` and return its data.yaml; where it is there already, only return it.

    Several processes may call it at once: one writes, the others wait. What a killed one left is written anew. Crowd
    regions are left out, as in the COCO labels of ultralytics. An image that EXIF wants turned is written as a PNG of
    its stored pixels: its boxes lie in those, and ultralytics would turn it.
    Raises StorageError where the disk is full or cannot be written.
    """
    target = folder.absolute() / f"{local.manifest.name}-{local.manifest.version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f"{target.name}.lock")):
            if not target.is_dir():
                unfinished = target.with_name(f"{target.name}.unfinished")
                if unfinished.exists():
                    shutil.rmtree(unfinished)
                _write(local, unfinished, target)
                unfinished.rename(target)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror or error}. {folder} must be writable and have room for "
            f"{local.manifest.bytes / 1e9:.1f} GB; VISIONJOBS_CACHE names another place."
        ) from error
    return target / DATA_YAML


def _write(local: LocalDataset, into: Path, target: Path) -> None:
    """Everything into the new folder `into`, for use as `target`."""
    splits = list(local.manifest.counts)
    for split in splits:
        images, labels = into / "images" / split, into / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        opened = open_boxes(local, split)
        for index, text in enumerate(_labels(opened.truth)):
            name, data = _image(opened, index)
            (images / name).write_bytes(data)
            (labels / name).with_suffix(".txt").write_text(text)
    described = {
        "path": str(target),
        **{split: f"images/{split}" for split in splits},
        "names": dict(enumerate(local.manifest.classes)),
    }
    (into / DATA_YAML).write_text(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), "utf-8")


def _image(split: BoxSplit, index: int) -> tuple[str, bytes]:
    """Name and contents of an image's file."""
    path, data = split.truth.paths[index], split.encoded(index)
    stem, suffix = f"{split.truth.image_ids[index]:012d}", PurePosixPath(path).suffix.lower()
    with Image.open(io.BytesIO(data)) as image:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    if upright and suffix in KNOWN:
        return stem + suffix, data
    png = io.BytesIO()
    Image.fromarray(decode_rgb(data, path)).save(png, "PNG")
    return f"{stem}.png", png.getvalue()


def _labels(truth: Truth) -> list[str]:
    """The text of each image's label file."""
    objects = truth.where(~truth.crowd)
    height, width = truth.image_sizes[objects.images].T
    x, y, w, h = objects.boxes.T
    shares = np.stack([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height], axis=1).clip(0, 1)
    texts = [""] * len(truth.image_ids)
    for image, category, row in zip(objects.images.tolist(), objects.categories.tolist(), shares.tolist(), strict=True):
        texts[image] += f"{category} {' '.join(f'{share:.9g}' for share in row)}\n"
    return texts
