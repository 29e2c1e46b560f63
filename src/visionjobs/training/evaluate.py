"""A finished run's stored weights, evaluated again in this process: on its own dataset or on another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visionjobs.data.cache import ALL, LocalDataset, Split, fetch
from visionjobs.data.catalog import DatasetRef, find_dataset
from visionjobs.data.loader import open_images
from visionjobs.data.manifest import Manifest
from visionjobs.errors import UserError, nearest
from visionjobs.models.precision import autocast
from visionjobs.models.trained import Trained
from visionjobs.report.build import PAGE, build_report
from visionjobs.report.files import replace_page
from visionjobs.report.load import load_summary, read_kept
from visionjobs.runs import Run, now
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store
from visionjobs.tasks import make_task
from visionjobs.tasks.base import Completed, Ended, OnStage
from visionjobs.training.evaluation import Evaluator
from visionjobs.training.finalise import metrics_file
from visionjobs.training.setup import plain_input
from visionjobs.training.worker import Worker


@dataclass(frozen=True)
class Told:
    """Who is told how far it is: of a transfer, of samples (this many more of so many), of what follows; and of what is
    worth a warning."""

    transfer: Callable[[str, int], OnBytes]
    samples: Callable[[int, int], None]
    stage: OnStage
    warn: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Evaluation:
    """store: the folder that was written; metrics: the `metrics` object of its metrics.json; own: whether it is on the
    very samples that the run was measured on at its end."""

    store: Store
    metrics: dict[str, Any]
    own: bool


def choose_dataset(root: Store, spec: JobSpec, data: str | None, version: str | None) -> DatasetRef:
    """The run's own dataset in its own version, or the one asked for. Raises UserError where there is none."""
    own = spec.data
    if data in (None, own.name):
        return find_dataset(root, own.name, version or own.version)
    return find_dataset(root, str(data), version or "newest")


def place(run: Run, spec: JobSpec, ref: DatasetRef, split: str) -> tuple[Store, bool]:
    """Where an evaluation of the run goes, and whether it is of the very samples that the run ended with.

    Raises UserError for a split that the dataset does not have.
    """
    manifest = ref.manifest
    if split not in (*manifest.counts, ALL):
        known = (*manifest.counts, ALL)
        raise UserError(
            f"--split {split}: {manifest.name} {manifest.version} has {', '.join(known)}.{nearest(split, known)}"
        )
    own = (manifest.name, manifest.version) == (spec.data.name, spec.data.version)
    name = split if own else f"{manifest.name}-{manifest.version}-{split}"
    return run.store.at("evaluations", name), own and split == manifest.measured_split


def evaluate_run(trained: Trained, ref: DatasetRef, split: str, cache: Path, told: Told) -> Evaluation:
    """Evaluate on one split of `ref`, and write `evaluations/<name>/` of the run: metrics, predictions and a report.

    Raises UserError for a split that is not there, a dataset for another task, and classes that the run does not know.
    """
    _check_task(trained, ref.manifest)
    run, spec = trained.run, trained.spec
    store, measured = place(run, spec, ref, split)
    local = fetch(ref, cache, told.transfer(f"dataset {ref.manifest.name}", ref.manifest.bytes))
    samples = in_classes_of(trained.classes, local, split)
    completed = _measure(trained, samples, split, told)
    told.stage("the report")
    evaluation = Evaluation(store, completed.metrics, measured)
    described = described_in_classes_of(trained.dataset, ref.manifest)
    write_evaluation(evaluation, run, spec, described, split, completed)
    return evaluation


def _check_task(trained: Trained, manifest: Manifest) -> None:
    if manifest.task != trained.spec.task:
        wanted = (
            "masks: one class a pixel" if trained.spec.task == "segmentation" else "one label an image, and no masks"
        )
        raise UserError(
            f"the dataset {manifest.name} {manifest.version} is for {manifest.task}, and run {trained.run.id} was "
            f"trained for {trained.spec.task}: evaluate it on a dataset that has {wanted}"
        )


def in_classes_of(classes: list[str], local: LocalDataset, split: str) -> Split:
    """A split with its labels or masks in the order of `classes`. Raises UserError for a class that is none of them."""
    there = local.manifest.classes
    unknown = [name for name in there if name not in classes]
    if unknown:
        raise UserError(
            f"the dataset {local.manifest.name} {local.manifest.version} has classes that the run does not know: "
            f"{', '.join(unknown)}. The run's classes are: {', '.join(classes)}."
        )
    return local.split(split).recoded([classes.index(name) for name in there])


def described_in_classes_of(dataset: Manifest, there: Manifest) -> Manifest:
    """The manifest of what was evaluated with the classes and colours of `dataset`, so that numbers mean the same in
    both. A class that it does not have has no images in it."""
    counts, pixels = (
        {split: {name: numbers.get(name, 0) for name in dataset.classes} for split, numbers in counted.items()}
        for counted in (there.counts, there.pixels)
    )
    changed = {"classes": dataset.classes, "colours": dataset.colours, "counts": counts, "pixels": pixels}
    return there.model_copy(update=changed)


def _measure(trained: Trained, samples: Split, split: str, told: Told) -> Completed:
    spec, device = trained.spec, trained.device
    images = open_images(
        samples, size=trained.size, device=device, resident="never", fraction=1.0, processes_on_device=1
    )
    task = make_task(spec, trained.dataset)
    evaluator = Evaluator(
        Worker(0, 1, device),
        task,
        trained.model,
        spec.train.batch // spec.resources.workers,
        plain_input(spec, device),
        lambda: autocast(trained.precision, device),
        lambda count: told.samples(count, len(samples)),
    )
    metrics, kept = evaluator.metrics_and_samples(images)
    return task.complete(Ended(trained.dataset, split, samples, metrics, kept), told.stage)


def write_evaluation(
    evaluation: Evaluation, run: Run, spec: JobSpec, described: Manifest, split: str, completed: Completed
) -> None:
    """metrics.json last: a folder without one is no evaluation. described: the dataset, in the run's classes."""
    store = evaluation.store
    metrics = metrics_file(run, spec, split, completed) | {
        "data": {"name": described.name, "version": described.version},
        "evaluated": now(),
    }
    found = load_summary(run)
    summary = replace(
        found,
        spec=found.spec if evaluation.own else {**found.spec, "published": {}},  # those are of other samples
        metrics=metrics,
        dataset=described.model_dump(mode="json"),
        **read_kept(spec.task, split, completed.files.get, store.address),
    )
    store.delete(["metrics.json"])  # an earlier evaluation's
    for key, data in completed.files.items():
        store.write(key, data)
    replace_page(store.at("report"), build_report(summary), PAGE)
    store.write("metrics.json", json.dumps(metrics, indent=1, allow_nan=False))
