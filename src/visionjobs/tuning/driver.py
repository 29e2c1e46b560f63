"""One attempt of a sweep, from the claim to the report: checks, Ray, Tune in a thread, and whoever waits.

Tune starts and ends the trials' processes and shares out the machine. What it knows is gone with it: an attempt begins
with what the sweep's folder tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from visionjobs.cluster.sizes import Trials
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.manifest import Manifest
from visionjobs.errors import FinalError, UserError, VisionjobsError
from visionjobs.models.weights import locate_weights
from visionjobs.runs import Attempt, now
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec, differences
from visionjobs.storage import Store
from visionjobs.sweep_progress import COMPLETE, FAILED, SweepProgress, follow_sweep
from visionjobs.sweeps import Sweep, create_sweep, section_of, trial_spec
from visionjobs.tracking.mirror import Off, check_mode
from visionjobs.training.check_detector import check_detector
from visionjobs.training.driver import attempt_info, check_attempts_left, pin_inputs
from visionjobs.training.ending import end_recorded
from visionjobs.training.finetune_args import check_finetune
from visionjobs.training.run_logs import ray_logs_kept
from visionjobs.training.setup import check_dataset, check_precision
from visionjobs.training.stop import refuse_told
from visionjobs.tuning.board import Board
from visionjobs.tuning.ending import finish_sweep
from visionjobs.tuning.finisher import Finisher
from visionjobs.tuning.mirrors import Mirrors
from visionjobs.tuning.place import HERE, SweepPlace
from visionjobs.tuning.search import check_space
from visionjobs.tuning.suggest import Trialling
from visionjobs.tuning.tune_run import TuneRun
from visionjobs.tuning.watch import SweepWatcher


def pin_sweep(root: Store, spec: JobSpec, cache: Path) -> JobSpec:
    """`spec` with what its names mean today (training/driver.py: pin_inputs), and its sweep section.

    Raises UserError too for what pin_inputs refuses of one of the models and weights to choose from.
    """
    pinned = pin_inputs(root, spec, cache).model_copy(update={"sweep": section_of(spec)})
    for other in other_models(pinned):
        pin_inputs(root, other, cache)
    return pinned


def other_models(spec: JobSpec) -> Iterator[JobSpec]:
    """The job with each of the models and weights to choose from."""
    for key, domain in section_of(spec).space.items():
        for value in domain.choice or () if key.startswith("model.") else ():
            with suppress(UserError):  # not without other parameters: check_space tells
                yield trial_spec(spec, {key: value})


def run_sweep(
    settings: Settings, root: Store, spec: JobSpec, sweep: Sweep | None, watcher: SweepWatcher, place: SweepPlace = HERE
) -> Sweep:
    """Run `spec`'s sweep as a new one, or as the next attempt of `sweep`. Returns it when it is complete.

    Everything that can be checked is checked before the sweep's folder is made. Raises FinalError where no trial could
    be completed, other VisionjobsErrors where the sweep may be continued.
    """
    api_key = os.environ.get("WANDB_API_KEY")  # from here on: Ray's processes, and so its environment, have none
    check_mode(spec, api_key)
    check_may_go_on(sweep, spec)
    for warning in check_space(spec):
        watcher.warn(warning)
    if not root.probe():
        watcher.warn(f"{root.address} ignores conditional writes: two drivers at once might both write")
    dataset = find_dataset(root, spec.data.name, spec.data.version)
    check_dataset(spec, dataset.manifest)
    if sweep is None or len(sweep.trials()) < section_of(spec).trials:
        for warning in _check_models(settings, root, spec, dataset.manifest):
            watcher.warn(warning)
    fetch(dataset, settings.cache, watcher.transfer(f"dataset {spec.data.name}", dataset.manifest.bytes))
    watcher.stage("starting Ray")
    with place.connect(settings) as connection:
        trials = place.trials(spec, connection, watcher.stage)
        check_precision(spec, bool(trials.share.gpus))
        if spec.task == "detection":
            check_finetune(spec, dataset.manifest, bool(trials.share.gpus))
        refuse_told()
        manifest = dataset.manifest.model_dump_json(indent=1)
        sweep = sweep or create_sweep(root, spec, manifest)
        holder = sweep.folder.claim("attempt", _info(trials))
        _record_start(holder, spec)
        watcher.started(sweep, holder, connection, trials)
        for warning in trials.warnings:
            watcher.warn(warning)
        with ExitStack() as stack:
            stack.enter_context(end_recorded(holder, Off()))
            stack.enter_context(ray_logs_kept(holder) if place.keeps_logs else nullcontext())
            mirrors = stack.enter_context(closing(Mirrors(sweep, api_key, watcher.warn)))
            common = Trialling(sweep, spec, manifest, settings, trials)
            broken = _run_trials(common, holder, mirrors, watcher)
        _end(sweep, holder, watcher, broken)
    return sweep


def _check_models(settings: Settings, root: Store, spec: JobSpec, manifest: Manifest) -> list[str]:
    """The weights that trials begin with, before any of them does. Returns warnings."""
    warnings: list[str] = []
    for each in (spec, *other_models(spec)):
        weights = locate_weights(each, root, settings.cache)
        if spec.task == "detection" and weights is not None:
            warnings += check_detector(each, weights, manifest)
    return list(dict.fromkeys(warnings))


def _run_trials(common: Trialling, holder: Attempt, mirrors: Mirrors, watcher: SweepWatcher) -> dict[int, str]:
    """Returns why trials were broken off, by number."""
    board = Board(common.sweep, common.sweep.trials())
    with closing(Finisher(common.sweep, common.settings.cache, mirrors, watcher.warn, watcher.stage)) as finisher:
        try:
            tuned = TuneRun(common, holder, board, finisher, mirrors, watcher)
            tuned.run()
            tuned.watch(finisher.end())
        except BaseException:
            finisher.abandon()
            raise
    return tuned.broken


def _end(sweep: Sweep, holder: Attempt, watcher: SweepWatcher, broken: Mapping[int, str]) -> None:
    """Results, report, record. Raises FinalError where there is no complete trial, VisionjobsError where some may be
    continued."""
    with end_recorded(holder, Off()):
        progress = finish_sweep(sweep, holder, watcher.stage)
        watcher.changed(progress)
        left = [trial for trial in progress.trials if not trial.ended]
        if left:
            told = "; ".join(
                f"trial {trial.number} is {trial.state} ({trial.reason or broken.get(trial.number, 'no reason known')})"
                for trial in left
            )
            raise VisionjobsError(f"{len(left)} of {len(progress.trials)} trials did not end: {told}")
        if progress.best is None:
            raise FinalError(_why_no_best(progress))
        failed = sum(trial.state == FAILED for trial in progress.trials)
        message = f"{failed} of {len(progress.trials)} trials failed" if failed else None
        best = {"trial": progress.best.number, "metric": progress.metric, "value": progress.best.value}
        holder.update_record(
            state=COMPLETE, finished=progress.finished, message=message, best=best, trials_done=len(progress.trials),
            gpu_hours=progress.gpu_hours,
        )  # fmt: skip


def _why_no_best(progress: SweepProgress) -> str:
    complete = sum(trial.state == COMPLETE for trial in progress.trials)
    if complete:
        return f"{progress.metric} of the {complete} complete trial(s) is no finite number: none is the best"
    reasons = dict.fromkeys(trial.reason for trial in progress.trials if trial.state == FAILED)
    return f"no trial is complete: {'; '.join(str(reason) for reason in reasons)}"


def is_complete(sweep: Sweep, spec: JobSpec) -> bool:
    """Whether nothing is left to do. spec: what it is to go on with. With other resources a search space that has been
    exhausted may hold more: they decide which batches can be trained."""
    record = sweep.folder.record()
    return record.get("state") == COMPLETE and _has_all_trials(sweep, spec, record)


def _has_all_trials(sweep: Sweep, spec: JobSpec, record: Mapping[str, Any]) -> bool:
    """Whether there are no more trials to be made."""
    exhausted = bool(record.get("exhausted")) and spec.resources == sweep.spec().resources
    return exhausted or section_of(spec).trials <= record.get("trials", 0)


def check_may_go_on(sweep: Sweep | None, spec: JobSpec) -> None:
    """Raises UserError where the sweep is complete, FinalError where it failed for good or used up its attempts."""
    if sweep is None:
        return
    record, wanted = sweep.folder.record(), section_of(spec).trials
    trials = len(sweep.trials())
    if spec.resources != sweep.spec().resources:
        _check_resources(sweep, spec)
    if wanted < trials:
        raise UserError(f"sweep.trials: {wanted} is fewer than the {trials} that sweep {sweep.id} has begun")
    if record.get("state") in (COMPLETE, FAILED) and _has_all_trials(sweep, spec, record):
        more = f"for more of them: --samples {record['trials'] + 8}"
        if record.get("exhausted"):
            more = "its search space gave no others"
        if record["state"] == COMPLETE:
            raise UserError(f"sweep {sweep.id} is complete after {record['trials']} trials; {more}")
        told = f"failed for good after {record['trials']} trials and is not tried again: {record.get('message')}"
        raise FinalError(f"sweep {sweep.id} {told}; {more}")
    check_attempts_left(sweep.folder, spec, "sweep")


def _check_resources(sweep: Sweep, spec: JobSpec) -> None:
    """Raises UserError where a trial that is to be continued cannot be with these resources: three images a batch
    between two workers."""
    for trial in follow_sweep(sweep).trials:
        if not trial.ended:
            trial_spec(spec, trial.parameters)


def _record_start(holder: Attempt, spec: JobSpec) -> None:
    before = holder.run.record()
    holder.update_record(
        schema=1,
        sweep=holder.run.id,
        job=spec.name,
        task=spec.task,
        state="running",
        message=None,
        stopped=None,
        trials=section_of(spec).trials,
        exhausted=False,
        best=None,
        dataset={"name": spec.data.name, "version": spec.data.version},
        created=before.get("created", now()),
        changes={key: list(pair) for key, pair in differences(holder.run.spec(), spec).items()},
        finished=None,
    )


def _info(trials: Trials) -> dict[str, Any]:
    each = attempt_info(trials.share)
    return each | {"at_once": trials.at_once, "gpus": each["gpus"] * trials.at_once}
