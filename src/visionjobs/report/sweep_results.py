"""A sweep's results.json."""

from __future__ import annotations

from typing import Any

from visionjobs.report.sweep_importance import Importance
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.report.sweep_trials import finite, gain, gpu_hours, hours, ranks, saved, total, total_saved
from visionjobs.sweep_progress import TrialState


def sweep_results(sweep: SweepSummary) -> dict[str, Any]:
    """All trials by number and the best one, as JSON has it; null is what does not exist.

    saved_hours, saved_gpu_hours: an estimate of what stopping trials early saved. importance: see sweep_importance.py.
    """
    progress, gpus = sweep.progress, sweep.gpus
    rank, best = ranks(progress), progress.best
    return {
        "schema": 1,
        "sweep": progress.sweep,
        "job": progress.job,
        "task": progress.task,
        "metric": progress.metric,
        "mode": "max" if progress.maximise else "min",
        "trials": [_trial(trial, rank.get(trial.number)) for trial in progress.trials],
        "best": None
        if best is None
        else {
            "trial": best.number,
            "run": best.run,
            "value": finite(best.value),
            "gain": finite(gain(progress)),
            "parameters": best.parameters,
        },
        "hours": total([hours(trial) for trial in progress.trials]),
        "gpu_hours": total([gpu_hours(trial) for trial in progress.trials]),
        "saved_hours": total_saved(progress, gpus=False),
        "saved_gpu_hours": total_saved(progress, gpus=True) if gpus else None,
        "importance": _importance(sweep.importance),
    }


def _trial(trial: TrialState, rank: int | None) -> dict[str, Any]:
    return {
        "number": trial.number,
        "run": trial.run,
        "state": trial.state,
        "reason": trial.reason,
        "rank": rank,
        "parameters": trial.parameters,
        "value": finite(trial.value),
        "epochs_done": trial.epochs_done,
        "epochs": trial.epochs,
        "curve": [[epoch, finite(value)] for epoch, value in trial.curve],
        "hours": hours(trial),
        "gpu_hours": gpu_hours(trial),
        "saved_hours": saved(trial, gpus=False),
        "saved_gpu_hours": saved(trial, gpus=True),
    }


def _importance(found: Importance) -> dict[str, Any] | None:
    if found.shares is None:
        return None
    return {"shares": found.shares, "epoch": found.epoch, "trials": found.trials}
