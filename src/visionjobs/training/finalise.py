"""The end of a run: weights, predictions, metrics.json, report and record, written once, by whoever holds the run."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.errors import VisionjobsError
from visionjobs.models.yolo import weights_file
from visionjobs.report.build import PAGE, build_report
from visionjobs.report.files import replace_page
from visionjobs.report.load import load_summary
from visionjobs.run_progress import attempt_seconds
from visionjobs.runs import OUTCOME, OUTPUTS, Attempt, Run, now, read_progress
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.tasks import make_task
from visionjobs.tasks.base import Completed, Ended, OnStage
from visionjobs.tracking.mirror import Mirror
from visionjobs.training.box_parts import delete_parts
from visionjobs.training.checkpoint import CheckpointInfo, decode_state, load_last
from visionjobs.training.detect import complete_boxes
from visionjobs.training.outputs import read_outputs
from visionjobs.training.worker_main import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """Where the finaliser finds what it needs, and whom it tells. root: the storage; cache: this node's folder;
    mirror: the run's, in wandb."""

    root: Store
    cache: Path
    warn: Callable[[str], None]
    stage: OnStage
    mirror: Mirror


def finalise(final: Attempt, spec: JobSpec, outcome: Outcome, ending: Ending) -> None:
    """Write what stays, as the finaliser `final`. Raises SupersededError where a newer attempt holds the run.

    Raises VisionjobsError where the last checkpoint is damaged: metrics and weights must be of the same step.
    """
    run = final.run
    checkpoint = load_last(run, outcome.step, ending.warn) if spec.train.epochs else None
    dataset = fetch(find_dataset(ending.root, spec.data.name, spec.data.version), ending.cache)
    completed = _complete(final, spec, dataset, outcome, checkpoint, ending)
    for key, data in completed.files.items():
        final.write_shared(key, data)
    metrics = metrics_file(run, spec, dataset.manifest.measured_split, completed)
    final.write_shared("metrics.json", json.dumps(metrics, indent=1, allow_nan=False))
    weights = None if checkpoint is None else _write_weights(final, spec, checkpoint)
    record = final.update_record(
        finished=now(), outcome="complete", weights=weights, **account(run, ending.mirror.warnings)
    )
    ending.stage("the report")
    summary = load_summary(run)
    replace_page(run.store.at("report"), build_report(summary), PAGE, final.check_not_superseded)
    if spec.wandb.mode != "off":
        ending.stage("wandb")
        ending.mirror.finish(summary, "complete", final.check_not_superseded)
    warnings = dict.fromkeys([*record["warnings"], *ending.mirror.warnings])  # with what its end was warned of
    final.update_record(state="complete", warnings=list(warnings))


def tidy_up(run: Run) -> None:
    """Delete what the workers handed over. Best effort: the run is complete, and `prune` finds what is left."""
    try:
        left = (OUTPUTS, OUTCOME)
        run.store.delete([f"attempts/{claim.number:04}/{name}" for claim in run.claims() for name in left])
        delete_parts(run)
    except VisionjobsError as error:
        log.warning("run %s is complete; its temporary files could not be deleted: %s", run.id, error)


def _complete(
    final: Attempt, spec: JobSpec, dataset: LocalDataset, outcome: Outcome,
    checkpoint: tuple[CheckpointInfo, bytes] | None, ending: Ending,
) -> Completed:  # fmt: skip
    if spec.task == "detection":
        sha256 = checkpoint[0].sha256 if checkpoint else spec.model.sha256 or ""
        return complete_boxes(final.run, spec, dataset, sha256, ending.stage)
    groups = read_outputs(final.run.store.at("attempts", f"{final.number - 1:04}"))
    kept, manifest = groups.pop("kept"), dataset.manifest
    split = manifest.measured_split
    samples, train = dataset.split(split), dataset.split("train")
    ended = Ended(manifest, split, samples, outcome.metrics or {}, kept, train, features=groups)
    return make_task(spec, manifest).complete(ended, ending.stage)


def metrics_file(run: Run, spec: JobSpec, split: str, completed: Completed) -> dict[str, Any]:
    """The contents of a metrics.json."""
    return {
        "schema": 1,
        "run": run.id,
        "job": spec.name,
        "task": spec.task,
        "split": split,
        "metrics": completed.metrics,
    }


def account(run: Run, more_warnings: Sequence[str]) -> dict[str, Any]:
    """Of all attempts together: one entry each, GPU-hours, and the warnings of all and `more_warnings`."""
    attempts, warnings = [], [*run.record().get("warnings", []), *more_warnings]
    gpu_seconds, checkpoint_seconds = 0.0, 0.0
    for claim in run.claims():
        if claim.kind != "attempt":
            continue
        progress = read_progress(run.store.at("attempts", f"{claim.number:04}")) or {}
        seconds = attempt_seconds(claim, progress)
        checkpoint_seconds = max(checkpoint_seconds, progress.get("checkpoint_seconds") or 0.0)
        gpu_seconds += seconds * claim.info.get("gpus", 0)
        keep = ("step", "resumed_from_step", "facts")
        attempts.append(
            {"number": claim.number, "started": claim.started, "seconds": seconds}
            | claim.info
            | {key: progress.get(key) for key in keep}
        )
        warnings += progress.get("warnings", [])
    return {
        "attempts": attempts,
        "gpu_hours": round(gpu_seconds / 3600, 4),
        "checkpoint_seconds": round(checkpoint_seconds, 2) or None,  # the slowest: for the next one's grace period
        "warnings": list(dict.fromkeys(warnings)),
    }


def _write_weights(final: Attempt, spec: JobSpec, checkpoint: tuple[CheckpointInfo, bytes]) -> dict[str, Any]:
    """`weights/<job>.pth`: the checkpoint's state dict, contiguous, as `torch.load(weights_only=True)` reads it; of a
    detector with the YAML of its layers and the names of its classes. Returns what the record says of it."""
    if spec.task == "detection":
        weights = weights_file(checkpoint[1])
    else:
        state = decode_state(checkpoint[1])["model"]
        buffer = io.BytesIO()
        torch.save({name: tensor.contiguous() for name, tensor in state.items()}, buffer)
        weights = buffer.getvalue()
    final.write_shared(f"weights/{spec.name}.pth", weights)
    return {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}
