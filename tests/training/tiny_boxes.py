"""Jobs of boxes on the drawn sample, small enough to predict in this process within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import ending, start_attempt, work_for

from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.sample import make_sample
from visionjobs.jobfile import build_spec, with_sets
from visionjobs.models.yolo import build_yolo, yolo_state
from visionjobs.runs import Attempt, Run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.training import driver
from visionjobs.training.box_parts import write_part
from visionjobs.training.detect import predict_work
from visionjobs.training.predictor import Predictor
from visionjobs.training.watch import Watcher
from visionjobs.training.worker_main import Outcome

SAMPLE = "coco-sample"


def boxes_root(folder: Path) -> Store:
    """A storage with the drawn sample in it."""
    root = open_store(str(folder / "storage"))
    make_sample("coco", root)
    return root


def random_weights(file: Path, names: list[str], seed: int = 0) -> Path:
    """A YOLOv8n that knows nothing, as a file of ours; its batch-norm statistics are those of noise, or else it would
    say the same of each place."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = build_yolo("yolov8n", len(names))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(torch.rand(8, 3, 64, 64))
        torch.save(yolo_state(model, names), file)
    return file


def boxes_spec(weights: Path | str, *sets: str) -> JobSpec:
    tree: dict[str, Any] = {
        "task": "detection", "name": "boxes",
        "model": {"name": "yolov8n", "weights": str(weights)},
        "data": {"name": SAMPLE, "size": [64, 64]},
        "train": {"epochs": 0},
        "detect": {"floors": [0.001, 0.005], "batch": 4},
        "resources": {"cpus": 1, "gpus": 0},
        "published": {"floors.0.005.coco.AP": {"value": 0.48, "source": "a made-up table"}},
    }  # fmt: skip
    return build_spec(with_sets(tree, sets), "boxes", sets)


def local(root: Store) -> LocalDataset:
    return fetch(find_dataset(root, SAMPLE), ending(root).cache)


def predict_here(root: Store, attempt: Attempt, spec: JobSpec, images: int | None = None) -> Outcome:
    """The first `images` images of the measured split (all if None), predicted in this process in two pieces."""
    work = predict_work(work_for(root, attempt, spec), spec, attempt.run, "val", 0, lambda _: None)
    predictor = Predictor(work)
    for piece in np.array_split(np.arange(images or len(predictor.split)), 2):
        write_part(attempt, work.sha256, predictor.predict(piece))
    return Outcome()


def finished_boxes(root: Store, weights: Path, *sets: str) -> Run:
    """A run of the job to its end, in this process."""
    spec = driver.pin_inputs(root, boxes_spec(weights, *sets), ending(root).cache)
    attempt = start_attempt(root, spec)
    driver._record_start(attempt, spec, [])
    watcher = Watcher(*[lambda *_: None] * 5)
    driver._to_the_end(attempt, spec, lambda: predict_here(root, attempt, spec), watcher, ending(root))
    return attempt.run
