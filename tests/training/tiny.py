"""A tiny dataset and job, and the loop run in this process or in several, without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from visionjobs.data.catalog import find_dataset
from visionjobs.data.wildlife import import_wildlife
from visionjobs.jobfile import build_spec, with_sets
from visionjobs.runs import Attempt, Run, create_run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.tracking.mirror import Off
from visionjobs.training import driver
from visionjobs.training.checkpoint import decode_state, load_newest
from visionjobs.training.finalise import Ending
from visionjobs.training.watch import Watcher
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


def tiny_root(folder: Path, photos: str = "raw", size: tuple[int, int] = (32, 32)) -> Store:
    """A storage root in `folder` with the dataset "tiny" in it, imported from the images drawn into `folder/photos`."""
    draw_tiny(folder / photos)
    root = open_store(str(folder / "storage"))
    import_wildlife(str(folder / photos), "tiny", root, size=size)
    return root


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
    manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
    return create_run(root, spec, manifest.model_dump_json()).claim("attempt", {"gpus": 0})


def work_for(root: Store, attempt: Attempt, spec: JobSpec) -> Work:
    return Work(
        storage=root.address, endpoint=None, cache=f"{root.address}-cache", run_id=attempt.run.id,
        attempt=attempt.number, spec=spec.model_dump(mode="json"), threads=1, use_gpu=False,
    )  # fmt: skip


def train_here(root: Store, attempt: Attempt, spec: JobSpec) -> Outcome:
    """One worker, in this process."""
    return Outcome(**worker_main(asdict(work_for(root, attempt, spec))))


def ending(root: Store) -> Ending:
    """What the finaliser needs; nobody is told anything."""
    return Ending(root, Path(f"{root.address}-cache"), lambda _: None, lambda _: None, Off())


def finish(root: Store, attempt: Attempt, spec: JobSpec) -> Run:
    """One attempt to its end, trained in this process, with everything that a finished run has."""
    watcher = Watcher(*[lambda *_: None] * 5)
    driver._record_start(attempt, spec, [])
    driver._to_the_end(attempt, spec, lambda: train_here(root, attempt, spec), watcher, ending(root))
    return attempt.run


def finished_run(root: Store, *sets: str) -> Run:
    """A new run of the tiny job, finished."""
    spec = driver.pin_inputs(root, tiny_spec(*sets), ending(root).cache)
    return finish(root, start_attempt(root, spec), spec)


def train_in_processes(root: Store, attempt: Attempt, spec: JobSpec, world: int, die_at: int | None = None) -> Outcome:
    """`world` workers in processes of their own (gloo). At step `die_at` one of them is killed with -9."""
    work = asdict(work_for(root, attempt, spec))
    meeting = Path(f"{root.address}-meeting-{attempt.run.id}-{attempt.number}")
    script = Path(__file__).with_name("worker_process.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(world)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), json.dumps(work), str(rank), str(world), str(meeting), str(die_at or 0)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        if die_at is not None:
            assert processes[-1].wait(timeout=300) == -9
            return Outcome(error="killed", exit_status=-9)
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * world
        outcomes = [json.loads(output.splitlines()[-1]) for output in outputs]
        assert len({json.dumps([outcome["metrics"], outcome["error"]]) for outcome in outcomes}) == 1
        return Outcome(**outcomes[0])
    finally:
        for process in processes:
            process.kill()
            process.wait()


def final_weights(run: Run) -> dict[str, torch.Tensor]:
    """The model of the newest checkpoint."""
    newest = load_newest(run, pytest_fail)
    assert newest is not None
    return decode_state(newest[1])["model"]


def pytest_fail(message: str) -> None:
    """As a `warn` that must not be called."""
    raise AssertionError(message)


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    differing = [name for name in a if not torch.equal(a[name], b[name])]
    assert not differing
