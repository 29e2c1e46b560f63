"""A tiny packed dataset, and the loop run in this process (no Ray)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from visionjobs.data.wildlife import import_wildlife
from visionjobs.jobfile import build_spec, with_sets
from visionjobs.runs import Attempt, create_run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.training.worker_main import Outcome, Work, worker_main

CLASSES = ("bear", "deer", "fox", "owl")
PER_CLASS = 15


def draw_tiny(folder: Path) -> None:
    """Four classes told apart by the direction and width of their stripes, in random colours."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:40]
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            wave = np.sin((x if label % 2 else y) * (0.5 if label < 2 else 1.4) + generator.uniform(0, 6))
            pixels = 128 + 90 * wave[..., None] * generator.uniform(0.6, 1, 3) + generator.normal(0, 12, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index:02}.png")


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    draw_tiny(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, tiny_source: Path) -> Store:
    """A storage root that holds the dataset "tiny": 48 images to train on, 12 to validate, 32x32."""
    store = open_store(str(tmp_path / "storage"))
    import_wildlife(str(tiny_source), "tiny", store, size=(32, 32))
    return store


def tiny_spec(*sets: str) -> JobSpec:
    """A ConvNet for a few seconds: 48 samples in batches of 8, 2 epochs."""
    tree = {
        "name": "tiny",
        "task": "classification",
        "model": {"name": "convnet"},
        "data": {"name": "tiny", "size": [32, 32]},
        "train": {"epochs": 2, "batch": 8, "checkpoint": {"every": 2, "unit": "steps"}},
    }
    return build_spec(with_sets(tree, sets), "tiny", sets)


def start_attempt(root: Store, spec: JobSpec) -> Attempt:
    return create_run(root, spec).claim("attempt", {"gpus": 0})


def work_for(root: Store, attempt: Attempt, spec: JobSpec) -> Work:
    return Work(
        storage=root.address, endpoint=None, cache=f"{root.address}-cache", run_id=attempt.run.id,
        attempt=attempt.number, spec=spec.model_dump(mode="json"), threads=1, use_gpu=False,
    )  # fmt: skip


def train_here(root: Store, attempt: Attempt, spec: JobSpec) -> Outcome:
    """One worker, in this process."""
    return Outcome(**worker_main(asdict(work_for(root, attempt, spec))))
