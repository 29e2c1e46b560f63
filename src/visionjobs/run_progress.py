"""How far a run is, told from its folder alone: position, speed, best epoch and GPU-hours, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from visionjobs.runs import Claim, Run, read_progress, stop_requested

SILENT_SECONDS = 600
"""A run writes its progress at least once an epoch; starting the workers takes half a minute."""

SCORES = {"classification": "val_accuracy", "segmentation": "val_miou", "detection": "val_map"}
"""Task -> the column of the history by which its best epoch is chosen; higher is better."""


@dataclass(frozen=True)
class RunProgress:
    """A run as its folder tells it. What is not known (yet) is None; times are ISO 8601.

    state: complete, running, interrupted, failed, not started, or "silent for ..." of a run that says running and has
    not written for SILENT_SECONDS. stop: why it was asked to stop, or stopped, before it was
    complete. host: of the last attempt. attempt: the
    number of its folder, started: when it began; attempts: how many there were, attempts_allowed: may be.
    epochs_done, epochs: whole ones; step, steps: batches, of all epochs; stage: "predicting", with done and total in
    images; eta_seconds: to the end of the training (or predicting), at its speed so far; best: of the epochs,
    {"metric", "value", "epoch"}, epochs counted from 0 as in the history; row: the history's last; gpu_hours, seconds:
    of all attempts, the running one's so far included; updated: of the last progress.
    """

    run: str
    job: str
    task: str
    dataset: str
    state: str
    message: str | None
    stop: str | None
    address: str
    created: str | None
    finished: str | None
    host: str | None
    attempt: int | None
    started: str | None
    attempts: int
    attempts_allowed: int
    epochs_done: int
    epochs: int
    step: int | None
    steps: int | None
    stage: str | None
    done: int | None
    total: int | None
    eta_seconds: float | None
    updated: str | None
    best: dict[str, Any] | None
    row: dict[str, Any] | None
    gpu_hours: float | None
    seconds: float


def run_state(run: Run, record: Mapping[str, Any], claims: Sequence[Claim]) -> str:
    """The record's state; of a run that was killed, and could not say so, how long nothing has been heard of it."""
    state = str(record.get("state", "not started"))
    if state != "running" or not claims:
        return state
    progress = read_progress(run.store.at("attempts", f"{claims[-1].number:04}")) or {}
    seconds = (datetime.now(UTC) - _time(progress.get("updated", claims[-1].started))).total_seconds()
    return "running" if seconds < SILENT_SECONDS else f"silent for {timedelta(seconds=int(seconds))}"


def follow_run(run: Run) -> RunProgress:
    """Read a run's folder. Raises UserError (damaged) and StorageError (no answer)."""
    return follow_with_history(run)[0]


def follow_with_history(run: Run) -> tuple[RunProgress, list[dict[str, Any]]]:
    """As follow_run, with the run's history. It is read after the record: of a run that is complete it is whole."""
    spec, record, claims = run.spec_now(), run.record(), run.claims()
    history = run.history()
    attempts = [claim for claim in claims if claim.kind == "attempt"]
    progresses = {claim.number: read_progress(run.store.at("attempts", f"{claim.number:04}")) for claim in attempts}
    last = attempts[-1] if attempts else None
    progress = (progresses[last.number] if last else None) or {}
    state = run_state(run, record, claims)
    steps = progress.get("steps_per_epoch")
    hardware = {} if last is None else last.info.get("hardware") or {}
    told = RunProgress(
        run=run.id, job=spec.name, task=spec.task, dataset=spec.data.name, state=state, message=record.get("message"),
        stop=None if state == "complete" else record.get("stopped") or stop_requested(run.store),
        address=run.store.address,
        created=record.get("created"), finished=record.get("finished"), host=hardware.get("host"),
        attempt=None if last is None else last.number, started=None if last is None else last.started,
        attempts=len(attempts), attempts_allowed=spec.limits.attempts,
        epochs_done=len(history), epochs=spec.train.epochs,
        step=progress.get("step"), steps=None if steps is None else steps * spec.train.epochs,
        stage=progress.get("stage"), done=progress.get("done"), total=progress.get("total"),
        eta_seconds=None if last is None or state != "running" else eta_seconds(progress, last.started),
        updated=progress.get("updated"), best=best_epoch(spec.task, history), row=history[-1] if history else None,
        gpu_hours=_gpu_hours(record, attempts, progresses),
        seconds=sum(attempt_seconds(claim, progresses[claim.number]) for claim in attempts),
    )  # fmt: skip
    return told, history


def eta_seconds(progress: Mapping[str, Any], started: str) -> float | None:
    """Seconds from its last progress to the end of training: what is left at the attempt's mean speed, with its
    validations and checkpoints. progress: progress.json; started: of the attempt. None before anything was done."""
    if progress.get("stage") == "predicting":
        speed = progress.get("images_per_second")
        return round((progress["total"] - progress["done"]) / speed, 1) if speed else None
    if "steps_per_epoch" not in progress or "updated" not in progress:
        return None
    done = progress["step"] - (progress.get("resumed_from_step") or 0)
    left = progress["epochs"] * progress["steps_per_epoch"] - progress["step"]
    seconds = (_time(progress["updated"]) - _time(progress.get("began", started))).total_seconds()
    return round(seconds / done * left, 1) if done > 0 else None


def best_epoch(task: str, history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The epoch with the highest score, the earliest of equal ones; None where none has one."""
    key = SCORES[task]
    scored = [row for row in history if row.get(key) is not None]
    if not scored:
        return None
    best = max(scored, key=lambda row: (row[key], -row["epoch"]))
    return {"metric": key, "value": best[key], "epoch": best["epoch"]}


def _gpu_hours(
    record: Mapping[str, Any], attempts: Sequence[Claim], progresses: Mapping[int, Mapping[str, Any] | None]
) -> float | None:
    """The record's, which an attempt writes at its end; while one runs, or after it was killed, that of all so far."""
    if record.get("state") != "running" and record.get("gpu_hours") is not None:
        return float(record["gpu_hours"])
    if not attempts:
        return None
    seconds = 0.0
    for claim in attempts:
        seconds += attempt_seconds(claim, progresses[claim.number]) * claim.info.get("gpus", 0)
    return round(seconds / 3600, 4)


def attempt_seconds(claim: Claim, progress: Mapping[str, Any] | None) -> float:
    """How long an attempt has run: from its claim to its last progress, 0 before any."""
    return (_time((progress or {}).get("updated", claim.started)) - _time(claim.started)).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
