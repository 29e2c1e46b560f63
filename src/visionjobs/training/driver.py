"""One attempt of a run, from the claim to the report: checks, Ray, waiting, finalising."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from visionjobs.cluster.sizes import Share
from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import DatasetRef, find_dataset
from visionjobs.errors import FinalError, UserError
from visionjobs.models.weights import job_source, locate_weights, sha256_of
from visionjobs.models.yolo_weights import check_trusted
from visionjobs.provenance import code_version, hardware, pod
from visionjobs.runs import TRIAL_ID, Attempt, Run, create_run, now
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec, differences
from visionjobs.storage import Store
from visionjobs.tracking.mirror import check_mode
from visionjobs.training.check_detector import check_detector
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.detect import detect
from visionjobs.training.ending import complete_run, end_recorded, leave_outcome
from visionjobs.training.finalise import Ending
from visionjobs.training.finetune_args import check_finetune
from visionjobs.training.place import HERE, Place
from visionjobs.training.run_logs import ray_logs_kept
from visionjobs.training.setup import check_dataset, check_precision
from visionjobs.training.stop import refuse_told
from visionjobs.training.watch import Watcher, watch
from visionjobs.training.worker_main import Outcome, Work


def pin_inputs(root: Store, spec: JobSpec, cache: Path) -> JobSpec:
    """The spec of a run, without a sweep section, with what its names mean today: the dataset's version, a local
    weights file's full path and sha256.

    Of a detection job always the sha256: what is evaluated must be what was checked. cache: of this node.
    Raises UserError where one of them is missing, or is a pickle that the job does not trust.
    """
    manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
    data = spec.data.model_copy(update={"version": manifest.version})
    model = spec.model
    source = job_source(spec)
    if source is not None and source.kind == "local" and Path(source.origin).is_file():
        sha256 = model.sha256 or sha256_of(Path(source.origin))
        model = model.model_copy(update={"weights": source.origin, "sha256": sha256})
    if spec.task == "detection" and (path := locate_weights(spec, root, cache)) is not None:
        check_trusted(spec, path)
        model = model.model_copy(update={"sha256": model.sha256 or sha256_of(path)})
    return spec.model_copy(update={"data": data, "model": model, "sweep": None})


def train_run(
    settings: Settings, root: Store, spec: JobSpec, run: Run | None, watcher: Watcher, notes: Sequence[str] = (),
    place: Place = HERE,
) -> Run:  # fmt: skip
    """Train `spec` as a new run, or as the next attempt of `run`. Returns the run when it is complete, or when what is
    left of it is for somebody else to complete (Place.completes).

    notes: sentences for the record and the report.
    Everything that can be checked is checked before the run folder is made. Raises FinalError for a failure that
    would repeat, other VisionjobsErrors for one after which the run may be continued.
    """
    check_may_start(run, spec)
    api_key = os.environ.get("WANDB_API_KEY")  # from here on: Ray's processes, and so its environment, have none
    if place.completes:  # else who does mirrors it, too
        check_mode(spec, api_key)
    conditional = root.probe()
    dataset = find_dataset(root, spec.data.name, spec.data.version)
    warnings, local = _check_inputs(settings, root, spec, run, dataset, watcher)
    if not conditional:
        warnings.append(f"{root.address} ignores conditional writes: two attempts at once might both write")
    watcher.stage("starting Ray")
    with place.connect(settings) as connection:
        share, warning = place.share(spec, connection, watcher.stage)
        check_precision(spec, bool(share.gpus))
        if spec.task == "detection" and spec.train.epochs:
            check_finetune(spec, dataset.manifest, bool(share.gpus))
        refuse_told()
        run = run or create_run(root, spec, dataset.manifest.model_dump_json(indent=1))
        attempt = run.claim("attempt", attempt_info(share))
        if run.dataset() is None:  # a run of an older version
            attempt.write_shared("dataset.json", dataset.manifest.model_dump_json(indent=1))
        watcher.started(attempt, connection)
        warnings += ([warning] if warning else []) + _changes_since(run, attempt)
        for text in warnings:
            watcher.warn(text)
        work = _work_of(settings, root, attempt, spec, share, place)
        logs = ray_logs_kept(attempt) if place.keeps_logs else nullcontext()
        with logs, closing(place.mirror(run, spec, api_key, watcher.warn)) as mirror:
            _record_start(attempt, spec, warnings, notes)
            train = partial(_work, place, work, share, attempt, spec, local, watcher)
            ending = Ending(root, settings.cache, watcher.warn, watcher.stage, mirror)
            _to_the_end(attempt, spec, train, watcher, ending, completes=place.completes)
    return run


def _work_of(settings: Settings, root: Store, attempt: Attempt, spec: JobSpec, share: Share, place: Place) -> Work:
    return Work(
        storage=root.address,
        endpoint=settings.endpoint,
        cache=str(settings.cache),
        run_id=attempt.run.id,
        attempt=attempt.number,
        spec=spec.model_dump(mode="json"),
        threads=share.cpus,
        use_gpu=bool(share.gpus),
        trials_on_device=place.trials_on_device,
    )


def _check_inputs(
    settings: Settings, root: Store, spec: JobSpec, run: Run | None, dataset: DatasetRef, watcher: Watcher
) -> tuple[list[str], LocalDataset]:
    """Dataset and weights, before anything is made. Returns warnings, and the dataset on this node."""
    warnings: list[str] = []
    check_dataset(spec, dataset.manifest)
    checkpoints = list_checkpoints(run) if run else []
    if run and not checkpoints and run.history():
        warnings.append(f"run {run.id} has no checkpoint left: it starts from the beginning again")
    if not checkpoints:  # else the weights are in the checkpoint
        weights = locate_weights(spec, root, settings.cache)
        if spec.task == "detection" and weights is not None:
            warnings += check_detector(spec, weights, dataset.manifest)
    # Into this node's cache, where the workers of a local Ray find it: here there is someone to show progress to.
    transfer = watcher.transfer(f"dataset {spec.data.name}", dataset.manifest.bytes)
    return warnings, fetch(dataset, settings.cache, transfer)


def _work(
    place: Place, work: Work, share: Share, attempt: Attempt, spec: JobSpec, dataset: LocalDataset, watcher: Watcher
) -> Outcome:
    if spec.task == "detection":
        return detect(place, work, share, attempt, spec, dataset, watcher.warn)
    return place.train(work, share, attempt, spec)


def _to_the_end(
    attempt: Attempt, spec: JobSpec, train: Callable[[], Outcome], watcher: Watcher, ending: Ending, *,
    completes: bool = True,
) -> None:  # fmt: skip
    """Train, then complete the run, or leave that to somebody else; and record how it ended, whatever that was."""
    with end_recorded(attempt, ending.mirror):
        outcome = watch(train, attempt, spec, watcher, ending.mirror)
        if not completes:
            leave_outcome(attempt, outcome)
    if completes:
        complete_run(attempt, spec, outcome, ending)


def check_may_start(run: Run | None, spec: JobSpec) -> None:
    """Refuse a run that is complete, failed for good, or used up its attempts."""
    if run is None:
        return
    record = run.record()
    if record.get("state") == "failed":
        raise FinalError(f"run {run.id} failed for good and is not tried again: {record.get('message')}")
    if (run.spec().train.epochs == 0) != (spec.train.epochs == 0):
        raise UserError(
            f"train.epochs: run {run.id} was started with {run.spec().train.epochs}: one that trains nothing stays so; "
            "start a new run"
        )
    if record.get("state") == "complete" and not spec.train.epochs:
        raise UserError(f"run {run.id} is complete: it evaluated its weights as they are; start a new run")
    if record.get("state") == "complete" and spec.train.epochs <= record.get("epochs", 0):
        raise UserError(
            f"run {run.id} is complete after {record['epochs']} epochs; to train it further, raise the epochs: "
            f"--set train.epochs={record['epochs'] + 5}"
        )
    newest = list_checkpoints(run)[-1:]
    if newest and newest[0].epoch >= spec.train.epochs:
        raise UserError(
            f"train.epochs: {spec.train.epochs} is fewer than the {newest[0].epoch + 1} that run {run.id} has begun"
        )
    if record.get("state") == "complete" and not newest:
        raise UserError(
            f"run {run.id} is complete and its checkpoints were pruned: it cannot be trained further. A new run may "
            f"start from its weights: --set model.weights={run.store.address}/weights/{spec.name}.pth"
        )
    check_attempts_left(run, spec, "run")


def check_attempts_left(folder: Run, spec: JobSpec, what: str) -> None:
    """Raises FinalError where this run or sweep, which `what` says, has used up its attempts."""
    attempts = len(folder.attempts())
    if attempts >= spec.limits.attempts:
        told = f"{what} {folder.id} has used its {attempts} attempts (limits.attempts)"
        if TRIAL_ID.match(folder.id):  # a sweep does not go on with a trial that failed
            raise FinalError(told)
        raise FinalError(f"{told}; find out why they ended, then allow more: --set limits.attempts={attempts + 5}")


def _record_start(attempt: Attempt, spec: JobSpec, warnings: list[str], notes: Sequence[str] = ()) -> None:
    before = attempt.run.record()
    changes = {key: list(pair) for key, pair in differences(attempt.run.spec(), spec).items()}
    attempt.update_record(
        schema=1,
        run=attempt.run.id,
        job=spec.name,
        task=spec.task,
        state="running",
        message=None,
        stopped=None,
        epochs=spec.train.epochs,
        dataset={"name": spec.data.name, "version": spec.data.version},
        created=before.get("created", now()),
        changes=changes,
        outcome=None,  # metrics and weights that are there may be of an earlier end
        finished=None,
        warnings=before.get("warnings", []) + warnings,
        notes=[*before.get("notes", []), *notes],
    )


def attempt_info(share: Share) -> dict[str, Any]:
    """What the claim of an attempt says of code and machine."""
    return {
        "code": code_version(),
        "hardware": hardware(),
        "workers": share.workers,
        "threads": share.cpus,
        "gpus": share.workers * share.gpus,
    } | ({"pod": where} if (where := pod()) else {})


def _changes_since(run: Run, attempt: Attempt) -> list[str]:
    """Warnings where this attempt's code, workers or threads are not those of the attempt before."""
    claims = run.attempts()
    before = next((claim for claim in reversed(claims) if claim.number < attempt.number), None)
    if before is None:
        return []
    current = next(claim for claim in claims if claim.number == attempt.number)
    warnings: list[str] = []
    if before.info["code"]["source"] != current.info["code"]["source"]:
        warnings.append(f"the code has changed since attempt {before.number}: the run may not end as it would have")
    for key in ("workers", "threads", "gpus"):
        if before.info[key] != current.info[key]:
            warnings.append(
                f"attempt {before.number} had {key} = {before.info[key]}, this one has {current.info[key]}: "
                "the weights will not be the same to the bit"
            )
    return warnings
