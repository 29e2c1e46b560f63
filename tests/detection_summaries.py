"""Detection runs as their folders would tell them, with numbers that come from real metrics over drawn boxes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from visionjobs.boxes import Detections, Truth
from visionjobs.jobfile import parse_job
from visionjobs.report.load import read_kept
from visionjobs.report.summary import RunSummary
from visionjobs.tasks.detection import complete

CLASSES = ("person", "dog", "bird", "train")
"""There is no train anywhere."""
CATEGORY_IDS = (1, 18, 16, 7)
COLOURS = ((200, 60, 60), (70, 110, 200), (230, 190, 60))
SIZE = (240, 320)
FLOORS = (0.001, 0.25)

JOB = """
task: detection
model: {name: yolov8n, weights: yolov8n.pt, trust: true}
data: {name: street, version: 3f9c2ab41d77, size: [320, 320]}
train: {epochs: %d}
published:
  floors.0.25.coco.AP: {value: 0.480, source: "part 1 (b)"}
  floors.0.25.tide.small.Miss: {value: 36.31, source: "part 1 (e)"}
  floors.0.25.calibration.all.count_ece: {value: 0.1598, source: "part 1 (d)"}
"""


def drawn_truth(n: int = 12) -> Truth:
    """n images of 240x320 px with five boxes each, small, medium and large ones, and a crowd in the first."""
    draw, order = np.random.default_rng(3), np.argsort(CATEGORY_IDS)
    sides = np.tile(np.array([14, 24, 50, 80, 150], np.float64), n)
    width, height = sides * draw.uniform(0.8, 1.2, 5 * n), sides * draw.uniform(0.8, 1.2, 5 * n)
    left, top = draw.uniform(0, SIZE[1] - width), draw.uniform(0, SIZE[0] - height)
    boxes, crowd = np.stack([left, top, width, height], axis=1), np.arange(5 * n) == 3
    return Truth(
        image_ids=np.arange(n, dtype=np.int64) + 100,
        paths=tuple(f"val/{number:06}.jpg" for number in range(n)),
        image_sizes=np.tile(np.array([SIZE], np.int64), (n, 1)),
        category_ids=np.array(CATEGORY_IDS, np.int64)[order],
        classes=tuple(CLASSES[at] for at in order),
        annotation_ids=np.arange(1, 5 * n + 1, dtype=np.int64),
        images=np.repeat(np.arange(n), 5),
        categories=np.array([0, 2, 3])[draw.integers(0, 3, 5 * n)],
        boxes=boxes,
        areas=0.9 * width * height,
        crowd=crowd,
    )


def drawn_detections(truth: Truth, wrong: float = 0.3, seed: int = 0) -> Detections:
    """Each true box found by a box beside it; a share `wrong` of them misplaced, misnamed or not found, and as many
    others added, with lower scores on average; each sixth has hardly any confidence."""
    draw, n = np.random.default_rng(seed), len(truth)
    boxes, categories, kind = truth.boxes.copy(), truth.categories.copy(), draw.uniform(size=n)
    boxes[:, :2] += boxes[:, 2:] * draw.normal(0, 0.04, (n, 2))
    boxes[kind < wrong / 3, :2] += 0.4 * boxes[kind < wrong / 3, 2:]
    misnamed = (kind >= wrong / 3) & (kind < 2 * wrong / 3)
    categories[misnamed] = (categories[misnamed] + 2) % 4
    found = (kind < 2 * wrong / 3) | (kind >= wrong)
    scores = draw.beta(6, 2, n) * np.where(kind < wrong, 0.6, 1.0) * np.where(np.arange(n) % 6, 1.0, 0.2)
    more = draw.integers(0, n, round(3 * wrong * n))
    other = truth.boxes[more].copy()
    other[:, 0], other[:, 1] = SIZE[1] - other[:, 0] - other[:, 2], SIZE[0] - other[:, 1] - other[:, 3]
    added = np.concatenate([other, boxes[::7]])
    images = np.concatenate([truth.images[found], truth.images[more], truth.images[::7]])
    named = np.concatenate([categories[found], truth.categories[more], categories[::7]])
    low = 0.001 + draw.beta(1, 4, len(added)) * 0.9
    every = np.concatenate([boxes[found], added]), np.concatenate([scores[found], low])
    return Detections(images.astype(np.int64), named.astype(np.int64), *every)


def history(epochs: int) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "step": 3 * epoch, "lr": 1e-2 / (epoch + 1), "train_loss": 9 / (epoch + 1),
         "train_box": 3 / (epoch + 1), "train_cls": 4 / (epoch + 1), "train_dfl": 2 / (epoch + 1),
         "val_map50": 0.3 + epoch / 10, "val_map": 0.2 + epoch / 10, "images_per_second": 10.0,
         "data_wait_share": 0.01, "gpu_utilisation": None, "peak_memory_bytes": 2**30, "seconds": 2.0,
         "diagnosis": None}
        for epoch in range(epochs)
    ]  # fmt: skip


def picture(truth: Truth, image: int) -> bytes:
    """A JPEG with a rectangle of the class's colour at each true box."""
    shade = np.linspace(90, 190, SIZE[0])[:, None, None] + np.zeros((*SIZE, 3))
    drawn = Image.fromarray(shade.astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for at in np.flatnonzero(truth.images == image):
        left, top, width, height = truth.boxes[at].tolist()
        colour = COLOURS[{0: 0, 2: 1, 3: 2}[int(truth.categories[at])]]
        pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@dataclass(frozen=True)
class Pictures:
    """The images of a truth, drawn when they are asked for."""

    truth: Truth

    def encoded(self, image: int) -> bytes:
        return picture(self.truth, image)


def detection_run(
    job: str = "yolo", wrong: float = 0.3, n: int = 12, seed: int = 0, epochs: int = 0,
    floors: tuple[float, ...] = FLOORS, **parts: Any,
) -> RunSummary:  # fmt: skip
    """A finished run on n images that is wrong about a share of their boxes; fine-tuned where it has epochs. Every part
    may be replaced."""
    truth = drawn_truth(n)
    return run_of(truth, drawn_detections(truth, wrong, seed), job=job, epochs=epochs, floors=floors, **parts)


def run_of(
    truth: Truth, detections: Detections, *, job: str = "yolo", epochs: int = 0,
    floors: tuple[float, ...] = FLOORS, **parts: Any,
) -> RunSummary:  # fmt: skip
    """A finished run that has found these boxes."""
    text = f"{JOB % epochs}detect: {{floors: {list(floors)}}}"
    spec = parse_job(text, f"{job}.yaml", job)
    completed = complete(truth, detections, floors, Pictures(truth), lambda _: None)
    run_id = f"{job}-20260504-101112-ab12"
    given = {
        "run": run_id,
        "job": job,
        "spec": spec.model_dump(mode="json"),
        "record": {"state": "complete"},
        "history": history(epochs),
        "metrics": {
            "schema": 1, "run": run_id, "job": job, "task": "detection", "split": "val", "metrics": completed.metrics
        },
        "dataset": described(truth),
        **read_kept("detection", "val", completed.files.get, "memory"),
    }  # fmt: skip
    return RunSummary(**(given | parts))


def described(truth: Truth) -> dict[str, Any]:
    """The manifest of the truth's dataset, which has training images too."""
    plain, n = truth.where(~truth.crowd), len(truth.image_ids)
    boxes = {name: int((plain.categories == k).sum()) for k, name in enumerate(truth.classes)}
    counts = {name: len(np.unique(plain.images[plain.categories == k])) for k, name in enumerate(truth.classes)}
    return {
        "format": 1, "layout": "coco", "name": "street", "version": "3f9c2ab41d77", "classes": list(truth.classes),
        "size": [], "category_ids": truth.category_ids.tolist(), "sizes": {"train": n, "val": n}, "rejected": 0,
        "counts": {split: dict(counts) for split in ("train", "val")},
        "boxes": {split: dict(boxes) for split in ("train", "val")}, "clipped": 2, "empty": 1,
    }  # fmt: skip
