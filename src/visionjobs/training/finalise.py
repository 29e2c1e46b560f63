"""The end of a run: weights, metrics.json, report and record, written once, by the attempt that still holds the run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import torch

from visionjobs.errors import VisionjobsError
from visionjobs.report.build import build_report
from visionjobs.report.summary import RunSummary
from visionjobs.runs import Attempt, Run, now, read_progress
from visionjobs.spec import JobSpec
from visionjobs.training.checkpoint import decode_state, load_newest
from visionjobs.training.worker_main import Outcome


def finalise(final: Attempt, spec: JobSpec, outcome: Outcome, warn: Callable[[str], None]) -> None:
    """Write what stays, as the finaliser `final`. Raises SupersededError where a newer attempt holds the run.

    Raises VisionjobsError where the last checkpoint is damaged: metrics and weights must be of the same step.
    """
    run = final.run
    newest = load_newest(run, warn)
    if newest is None or newest[0].step != outcome.step:
        raise VisionjobsError(
            f"run {run.id}: the checkpoint of its last step is damaged; continue the run to train that part again"
        )
    final.write_shared(f"weights/{spec.name}.pth", _weights(newest[1]))
    metrics = {
        "schema": 1,
        "run": run.id,
        "job": spec.name,
        "task": spec.task,
        "split": "val",
        "metrics": outcome.metrics,
    }
    final.write_shared("metrics.json", json.dumps(metrics, indent=1))
    record = final.update_record(finished=now(), outcome="complete", **account(run))
    summary = RunSummary(
        run=run.id,
        job=spec.name,
        spec=spec.model_dump(mode="json"),
        record=record,
        history=run.history(),
        metrics=metrics,
    )
    for key, data in build_report(summary).items():
        final.write_shared(f"report/{key}", data)
    final.update_record(state="complete")


def account(run: Run) -> dict[str, Any]:
    """Of all attempts together: one entry each, GPU-hours, and the warnings of all."""
    attempts, warnings = [], list(run.record().get("warnings", []))
    gpu_seconds = 0.0
    for claim in run.claims():
        if claim.kind != "attempt":
            continue
        progress = read_progress(run.store.at("attempts", f"{claim.number:04}")) or {}
        seconds = _seconds(claim.started, progress.get("updated", claim.started))
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
        "warnings": list(dict.fromkeys(warnings)),
    }


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _weights(checkpoint: bytes) -> bytes:
    """The state dict of a checkpoint, contiguous, as `torch.load(weights_only=True)` reads it."""
    state = decode_state(checkpoint)["model"]
    buffer = io.BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, buffer)
    return buffer.getvalue()
