"""What a process that predicts boxes does: find weights and dataset on its node, decode images, ask the detector.

The same code runs as a Ray Data actor (predict_boxes.py) and in this process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from visionjobs.boxes import Ints
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.coco_dataset import BoxSplit, decode_rgb, open_boxes
from visionjobs.data.parallel import ordered_map
from visionjobs.errors import FinalError, VisionjobsError
from visionjobs.inference.detector import Detector, Found, detector_config
from visionjobs.jobfile import build_spec
from visionjobs.models.yolo import weights_file
from visionjobs.models.yolo_weights import given_weights
from visionjobs.runs import run_folder
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.training.box_parts import BoxPart


@dataclass(frozen=True)
class PredictWork:
    """All that a predictor is told: plain values, no credentials (those are in its environment).

    checkpoint: of a run that was trained, the key of the checkpoint whose weights are asked; None: the job's weights.
    sha256: of the checkpoint, or of the job's weights.
    """

    storage: str
    endpoint: str | None
    cache: str
    run_id: str
    spec: dict[str, Any]
    split: str
    checkpoint: str | None
    sha256: str
    threads: int
    use_gpu: bool


class Predictor:
    """Opened once a process. Raises VisionjobsErrors for what is missing or damaged."""

    def __init__(self, work: PredictWork) -> None:
        spec = build_spec(work.spec, f"run {work.run_id}")
        root, cache = open_store(work.storage, work.endpoint), Path(work.cache)
        local = fetch(find_dataset(root, spec.data.name, spec.data.version), cache)
        self.split = open_boxes(local, work.split)
        weights = _weights_on_node(work, spec, root, cache)
        self._batch, self._threads = spec.detect.batch, work.threads
        device = "cuda:0" if work.use_gpu else "cpu"
        self.detector = Detector(detector_config(spec, weights, spec.detect.floors[0], device, work.threads))

    def predict(self, images: Ints) -> BoxPart:
        """images: indices in the split."""
        return predict_images(self.detector, self.split, images, self._batch, self._threads)


def predict_images(
    detector: Detector, split: BoxSplit, images: Ints, batch: int, threads: int,
    on_images: Callable[[int], None] = lambda _: None,
) -> BoxPart:  # fmt: skip
    """images: indices in the split. Their files are decoded in threads while the detector looks at those before.

    on_images: told how many more are done. Raises FinalError where the device's memory is too small.
    """
    found: list[Found] = []
    waiting: list[Any] = []
    with closing(ordered_map(partial(_decoded, split), images.tolist(), threads)) as decoded:
        for number, image in enumerate(decoded, 1):
            waiting.append(image)
            if len(waiting) == batch or number == len(images):
                found += _ask(detector, waiting)
                on_images(len(waiting))
                waiting = []
    boxes = [len(result) for result in found]
    return BoxPart(
        done=np.asarray(images, np.int64),
        images=np.repeat(np.asarray(images, np.int64), boxes),
        categories=np.concatenate([result.categories for result in found]),
        boxes=np.concatenate([result.boxes for result in found]),
        scores=np.concatenate([result.scores for result in found]),
        classes=np.array(detector.classes, np.str_),
        device=np.array(_name(detector.where), np.str_),
    )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _ask(detector: Detector, images: list[Any]) -> list[Found]:
    try:
        return detector.predict(images)
    except torch.OutOfMemoryError as error:
        raise FinalError(
            f"the device ran out of memory over {len(images)} images: lower detect.batch or data.size, then start a "
            "new run"
        ) from error


def _decoded(split: BoxSplit, image: int) -> Any:
    return decode_rgb(split.encoded(image), split.truth.paths[image])


def _weights_on_node(work: PredictWork, spec: JobSpec, root: Store, cache: Path) -> Path:
    """A local file with the weights to be asked. Of a checkpoint it is made here, once a node.

    Raises UserError (missing, not trusted), VisionjobsError (a damaged checkpoint), StorageError.
    """
    if work.checkpoint is None:
        return given_weights(spec, root, cache)
    target = cache / "finetuned" / work.sha256 / f"{spec.name}.pth"
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(target.with_suffix(".lock")):
        if not target.is_file():
            store = run_folder(root, work.run_id).at(work.checkpoint)
            data = store.read("state.pt")
            if hashlib.sha256(data).hexdigest() != work.sha256:
                raise VisionjobsError(f"{store.address}/state.pt is damaged: continue the run")
            unfinished = target.with_suffix(".tmp")
            unfinished.write_bytes(weights_file(data))
            unfinished.replace(target)
    return target
