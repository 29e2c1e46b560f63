"""A finished detection run's weights, evaluated again in this process: on its own dataset or on another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from visionjobs.data.cache import fetch
from visionjobs.data.coco_dataset import open_boxes
from visionjobs.data.parallel import default_threads
from visionjobs.errors import UserError
from visionjobs.inference.class_map import class_map
from visionjobs.inference.run_detector import load_run_detector
from visionjobs.models.trained import this_device
from visionjobs.runs import Run
from visionjobs.storage import Store
from visionjobs.tasks import detection
from visionjobs.training.box_parts import in_truth_classes
from visionjobs.training.evaluate import Evaluation, Told, choose_dataset, place, write_evaluation
from visionjobs.training.predictor import predict_images


def evaluate_boxes(
    run: Run, root: Store, split: str | None, data: str | None, version: str | None, cache: Path, told: Told
) -> Evaluation:
    """As evaluate_run, of boxes: on a split of the run's dataset, or of `data`, with the run's own weights.

    Raises UserError for a split that is not there, a dataset without boxes, and one that shares no class.
    """
    spec = run.spec_now()
    ref = choose_dataset(root, spec, data, version)
    manifest = ref.manifest
    if manifest.task != "detection":
        raise UserError(
            f"the dataset {manifest.name} {manifest.version} is for {manifest.task}, and run {run.id} is for "
            "detection: evaluate it on a dataset that has boxes"
        )
    split = split or manifest.measured_split
    store, own = place(run, spec, ref, split)
    local = fetch(ref, cache, told.transfer(f"dataset {manifest.name}", manifest.bytes))
    opened = open_boxes(local, split)
    floor, device, threads = spec.detect.floors[0], str(this_device()), torch.get_num_threads()
    asked = load_run_detector(run, root, cache, floor=floor, device=device, threads=threads)
    numbers = class_map(asked.detector.classes, opened.truth.classes, told.warn)
    images = np.arange(len(opened))
    found = predict_images(
        asked.detector, opened, images, spec.detect.batch, default_threads(),
        lambda count: told.samples(count, len(images)),
    )  # fmt: skip
    completed = detection.complete(
        opened.truth, in_truth_classes(found, numbers), spec.detect.floors, opened, told.stage
    )
    told.stage("the report")
    evaluation = Evaluation(store, completed.metrics, own)
    write_evaluation(evaluation, run, spec, manifest, split, completed)
    return evaluation
