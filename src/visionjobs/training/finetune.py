"""What one worker process does for a detection job: ultralytics' trainer under the contract of worker_main.py.

The moving average (EMA) of the weights in the last checkpoint is what the run ends with; it is evaluated afterwards
(training/detect.py).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.manifest import Manifest
from visionjobs.data.yolo_layout import write_yolo
from visionjobs.models.precision import resolve_precision
from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.models.weights import locate_weights
from visionjobs.models.yolo import build_yolo, load_yolo
from visionjobs.models.yolo_weights import check_trusted, load_detection_state
from visionjobs.runs import Attempt
from visionjobs.spec import JobSpec
from visionjobs.training.checkpoint import decode_state, load_newest
from visionjobs.training.finetune_args import check_finetune, trainer_arguments
from visionjobs.training.recorder import NO_LINK, Link
from visionjobs.training.setup import check_dataset
from visionjobs.training.worker import Worker
from visionjobs.training.worker_main import (
    Outcome,
    Start,
    Work,
    open_work,
    run_worker,
    start_recorder,
    together,
    training,
)

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

    from visionjobs.training.finetune_trainer import FineTuner


@dataclass
class _Prepared:
    """What a worker has before it meets the others. state: the newest checkpoint's bytes, on the main worker; layout:
    the folder with the dataset in YOLO's layout."""

    spec: JobSpec
    attempt: Attempt
    manifest: Manifest
    layout: Path
    model: DetectionModel
    state: bytes | None
    warnings: list[str]


def finetune_main(config: dict[str, Any], link: Link = NO_LINK) -> dict[str, Any]:
    """Entry point of a worker: a `Work` as a dict -> an `Outcome` as a dict, its metrics None.

    Link and errors as of worker_main.
    """
    return run_worker(config, _work, link)


def _work(work: Work, worker: Worker, link: Link) -> Outcome:
    prepared = together(worker, lambda: _prepare(work, worker))
    with tempfile.TemporaryDirectory(prefix="visionjobs-") as scratch:
        return _train(work, worker, prepared, Path(scratch), link)


def _prepare(work: Work, worker: Worker) -> _Prepared:
    """All that can fail for one worker alone: no collectives in here.

    Weights and checkpoint are read by the main worker only: the others receive its state.
    """
    root, attempt, spec = open_work(work)
    cache = Path(work.cache)
    reference = find_dataset(root, spec.data.name, spec.data.version)
    check_dataset(spec, reference.manifest)
    check_finetune(spec, reference.manifest, work.use_gpu)
    layout = write_yolo(fetch(reference, cache), cache / "yolo").parent
    warnings: list[str] = []
    newest = load_newest(attempt.run, warnings.append) if worker.is_main else None
    weights = locate_weights(spec, root, cache) if worker.is_main and newest is None else None
    model = _model(spec, len(reference.manifest.classes), weights, warnings)
    return _Prepared(spec, attempt, reference.manifest, layout, model, newest[1] if newest else None, warnings)


def _model(spec: JobSpec, num_classes: int, weights: Path | None, warnings: list[str]) -> DetectionModel:
    """Built from train.seed and filled from `weights`; adds a warning where a part of them did not fit."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.train.seed)
        model = build_yolo(spec.model.name, num_classes)
    if weights is not None:
        check_trusted(spec, weights)
        found = load_detection_state(weights)
        left_out = load_yolo(model, found.state, str(weights))
        if left_out:
            warnings.append(
                f"model.weights are of {len(found.names)} classes, and the dataset has {num_classes}: {len(left_out)} "
                "tensors of the head begin at random"
            )
    return model


def _train(work: Work, worker: Worker, prepared: _Prepared, scratch: Path, link: Link) -> Outcome:
    state = worker.broadcast_bytes(prepared.state)
    prepared.state = None
    trainer = _trainer(work, worker, prepared, scratch, None if state is None else decode_state(state))
    first_epoch = trainer.state["epoch"] + 1 if trainer.state else 0
    facts = _facts(trainer, prepared)
    steps_per_epoch = facts["samples_per_epoch"] // prepared.spec.train.batch
    total = prepared.spec.train.epochs * steps_per_epoch
    start = Start(first_epoch * steps_per_epoch, steps_per_epoch, prepared.warnings, facts, link)
    trainer.recorder = start_recorder(work, worker, prepared.attempt, prepared.spec, start)
    with training(worker, trainer.recorder):
        if first_epoch < prepared.spec.train.epochs:  # else all that an earlier attempt lacked was its evaluation
            trainer.train()
    return Outcome(step=total, facts=facts)


def _trainer(work: Work, worker: Worker, prepared: _Prepared, scratch: Path, state: dict[str, Any] | None) -> FineTuner:
    quiet_ultralytics()
    from visionjobs.training.finetune_trainer import FineTuner, take_place

    take_place(worker)
    spec, manifest = prepared.spec, prepared.manifest
    precision = resolve_precision(spec.train.precision, worker.device)
    return FineTuner(
        trainer_arguments(spec, device=worker.device, precision=precision, threads=work.threads, scratch=scratch),
        worker=worker,
        precision=precision,
        model=prepared.model,
        folders={split: str(prepared.layout / "images" / split) for split in ("train", "val")},
        names=manifest.classes,
        images=manifest.split_sizes,
        every=spec.train.checkpoint.every,
        state=state,
    )


def _facts(trainer: FineTuner, prepared: _Prepared) -> dict[str, Any]:
    """What the record says of how this worker trained."""
    import ultralytics

    worker, args = trainer.worker, trainer.args
    samples = prepared.manifest.split_sizes["train"]
    return {
        "precision": trainer.precision,
        "device": torch.cuda.get_device_name(worker.device) if worker.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "world": worker.world,
        "samples_per_epoch": samples,
        "dropped_per_epoch": samples % prepared.spec.train.batch,
        "trainer": f"ultralytics {ultralytics.__version__}",
        "warmup_epochs": args.warmup_epochs,
        "nominal_batch": args.nbs,
        "close_mosaic": args.close_mosaic,
    }
