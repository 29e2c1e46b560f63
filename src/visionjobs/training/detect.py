"""An attempt of a detection run: fine-tune where there are epochs, then predict the measured split."""

from __future__ import annotations

from collections.abc import Callable

from visionjobs.cluster.sizes import Share
from visionjobs.data.cache import LocalDataset
from visionjobs.data.coco_dataset import open_boxes
from visionjobs.errors import VisionjobsError
from visionjobs.inference.class_map import class_map
from visionjobs.runs import Attempt, Run
from visionjobs.spec import JobSpec
from visionjobs.tasks import detection
from visionjobs.tasks.base import Completed, OnStage
from visionjobs.training.box_parts import in_truth_classes, read_parts
from visionjobs.training.checkpoint import load_last
from visionjobs.training.place import Place
from visionjobs.training.predict_boxes import predict_boxes
from visionjobs.training.predictor import PredictWork
from visionjobs.training.worker_main import Outcome, Work


def detect(
    place: Place, work: Work, share: Share, attempt: Attempt, spec: JobSpec, dataset: LocalDataset,
    warn: Callable[[str], None],
) -> Outcome:  # fmt: skip
    """Train and predict, each from where it was. The boxes are in the attempts' parts (box_parts.py).

    Raises VisionjobsErrors; one of a worker's comes back in the Outcome.
    """
    outcome = place.train(work, share, attempt, spec) if spec.train.epochs else Outcome()
    if outcome.error is not None:
        return outcome
    split = open_boxes(dataset, dataset.manifest.measured_split)
    asked = predict_work(work, spec, attempt.run, split.name, outcome.step, warn)
    predict_boxes(asked, share, attempt, len(split), place.stream)
    return outcome


def predict_work(
    work: Work, spec: JobSpec, run: Run, split: str, step: int, warn: Callable[[str], None]
) -> PredictWork:
    """What the predictors are told. step: the last one of the training.

    Raises VisionjobsError where its checkpoint is damaged.
    """
    checkpoint, sha256 = None, spec.model.sha256 or ""
    if spec.train.epochs:
        newest, _ = load_last(run, step, warn)
        checkpoint, sha256 = newest.key, newest.sha256
    return PredictWork(
        storage=work.storage,
        endpoint=work.endpoint,
        cache=work.cache,
        run_id=work.run_id,
        spec=work.spec,
        split=split,
        checkpoint=checkpoint,
        sha256=sha256,
        threads=work.threads,
        use_gpu=work.use_gpu,
    )


def complete_boxes(run: Run, spec: JobSpec, dataset: LocalDataset, sha256: str, on_stage: OnStage) -> Completed:
    """Evaluate the boxes that the weights with this sha256 found. Raises VisionjobsError where some are missing."""
    split = open_boxes(dataset, dataset.manifest.measured_split)
    part = read_parts(run, sha256, on_stage)
    if part is None or len(part.done) != len(split):
        known = 0 if part is None else len(part.done)
        raise VisionjobsError(
            f"run {run.id}: {known} of {len(split)} images are predicted; continue the run to predict the others"
        )
    numbers = class_map(tuple(part.classes.tolist()), split.truth.classes)
    found = in_truth_classes(part, numbers)
    return detection.complete(split.truth, found, spec.detect.floors, split, on_stage)
