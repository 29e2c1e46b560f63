"""Detection: what a finished prediction becomes. Its training is ultralytics' own (training/finetune.py), not the loop.

So it is no Task (base.py): it has predictions to evaluate, and no batches to take a loss of.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from visionjobs.box_scenes import KEY as SCENES
from visionjobs.box_scenes import LABEL_ERROR, LONGEST, WORST, BoxScenes
from visionjobs.boxes import Detections, Ints, Truth
from visionjobs.coco_json import ANNOTATIONS, RESULTS, read_results, write_annotations, write_results
from visionjobs.data.coco_dataset import decode_rgb
from visionjobs.detection_curves import KEY as CURVES
from visionjobs.metrics.box_scene_choice import suspects, worst_images
from visionjobs.metrics.detection import FloorResult, OnStage, evaluate
from visionjobs.tasks.base import Completed

QUALITY = 85
"""Of the images in a report, as JPEG."""


class Pictures(Protocol):
    """Where the images of a Truth are found: data/coco_dataset.py's BoxSplit, or a folder."""

    def encoded(self, index: int) -> bytes:
        """The file of the image at `index` of truth.image_ids."""


def complete(
    truth: Truth, detections: Detections, floors: Sequence[float], pictures: Pictures, on_stage: OnStage
) -> Completed:
    """Store and evaluate a detector's boxes from the lowest floor on. What is evaluated is what is stored: boxes and
    scores with as many digits as the file has."""
    on_stage("writing the boxes")
    data = write_results(truth, detections.above(floors[0]))
    return complete_file(truth, data, read_results(data, RESULTS, truth), floors, pictures, on_stage)


def complete_file(
    truth: Truth, results: bytes, detections: Detections, floors: Sequence[float], pictures: Pictures | None,
    on_stage: OnStage,
) -> Completed:  # fmt: skip
    """Evaluate the boxes of a file of results, `results`, which is kept as it is. The highest floor is the one whose
    boxes are drawn, where there are pictures."""
    result = evaluate(truth, detections, floors, on_stage)
    files = {RESULTS: results, ANNOTATIONS: write_annotations(truth), CURVES: result.curves.to_npz()}
    if pictures is not None:
        on_stage("choosing images for the report")
        files[SCENES] = box_scenes(truth, result.floors[-1], pictures).to_npz()
    return Completed(result.to_dict(), files)


def box_scenes(truth: Truth, result: FloorResult, pictures: Pictures) -> BoxScenes:
    """The images worth a look, with all their boxes. result: at the floor whose boxes are to be drawn."""
    doubtful = suspects(result)
    worst = worst_images(truth, result)
    images = np.concatenate([worst, result.detections.images[doubtful]]).astype(np.int64)
    photos = [Image.fromarray(decode_rgb(pictures.encoded(int(image)), truth.paths[image])) for image in images]
    jpegs = [_scaled(photo) for photo in photos]
    true, true_scenes = _of_images(truth.images, images)
    found, scenes = _of_images(result.detections.images, images)
    return BoxScenes(
        kinds=np.array([WORST] * len(worst) + [LABEL_ERROR] * len(doubtful), np.str_),
        paths=np.array([truth.paths[image] for image in images], np.str_),
        sizes=np.array([[photo.height, photo.width] for photo in photos], np.int64).reshape(-1, 2),
        jpegs=np.frombuffer(b"".join(jpegs), np.uint8),
        ends=np.cumsum([len(jpeg) for jpeg in jpegs], dtype=np.int64),
        truth_scenes=true_scenes,
        truth_boxes=truth.boxes[true],
        truth_categories=truth.categories[true],
        truth_missed=result.missed[true],
        truth_crowd=truth.crowd[true],
        scenes=scenes,
        boxes=result.detections.boxes[found],
        categories=result.detections.categories[found],
        scores=result.detections.scores[found],
        errors=result.codes[found],
        suspect=np.isin(found, doubtful) & (scenes >= len(worst)),
    )


def _of_images(images: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """(indices, scenes): what lies in the chosen images, scene by scene; an image may be chosen twice."""
    parts = [np.flatnonzero(images == image) for image in chosen]
    indices = np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)
    return indices, np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _scaled(photo: Image.Image) -> bytes:
    small = photo.copy()
    small.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
