"""What a sweep's trials tell beyond their states: their order, what they took, and what stopping them early saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from visionjobs.report.formatting import NOT_AVAILABLE, plain
from visionjobs.sweep_progress import COMPLETE, FAILED, STOPPED, SweepProgress, TrialState

GROUPS = (COMPLETE, STOPPED, "", FAILED)
"""The order of the leaderboard; "": trials that have not ended."""


def finite(value: float | None) -> float | None:
    """None for what is no number either."""
    return value if value is not None and isfinite(value) else None


def curve_of(trial: TrialState) -> list[tuple[int, float]]:
    """The finite values of its metric: (epoch from 1, value)."""
    return [(epoch, value) for epoch, value in trial.curve if isfinite(value)]


def leaderboard(progress: SweepProgress) -> list[TrialState]:
    """Complete trials from the best value on, then those stopped early, those with most epochs first, then by value,
    then those that have not ended, then the failed ones; of equal ones the lower number first."""
    sign = -1 if progress.maximise else 1

    def key(trial: TrialState) -> tuple[float, ...]:
        group = GROUPS.index(trial.state if trial.state in GROUPS else "")
        value = finite(trial.value)
        worth = (value is None, sign * (value or 0.0))
        return (group, -trial.epochs_done if group else 0, *(worth if group < 2 else ()), trial.number)

    return sorted(progress.trials, key=key)


def ranks(progress: SweepProgress) -> dict[int, int]:
    """Number -> rank from 1, of the complete trials that have a value."""
    ranked = [trial for trial in leaderboard(progress) if trial.state == COMPLETE and finite(trial.value) is not None]
    return {trial.number: rank for rank, trial in enumerate(ranked, start=1)}


def own_trial(progress: SweepProgress) -> TrialState | None:
    """Trial 0, the job as it is; None before it was made."""
    return next((trial for trial in progress.trials if trial.number == 0), None)


def gain(progress: SweepProgress) -> float | None:
    """The best trial's value less that of trial 0; None without one of them."""
    own, best = own_trial(progress), progress.best
    if own is None or best is None or best.value is None or own.state != COMPLETE or own.value is None:
        return None
    return best.value - own.value


def hours(trial: TrialState) -> float | None:
    """Of all its attempts; None before it was begun."""
    return trial.seconds / 3600 or None


def gpu_hours(trial: TrialState) -> float | None:
    """None where it held no GPU."""
    return trial.gpu_hours or None


def held_gpus(progress: SweepProgress) -> bool:
    """Whether any trial held a GPU."""
    return any(gpu_hours(trial) is not None for trial in progress.trials)


def cost(trial: TrialState, gpus: bool) -> float | None:
    """GPU-hours, or hours where the sweep held no GPUs."""
    return gpu_hours(trial) if gpus else hours(trial)


def saved(trial: TrialState, gpus: bool) -> float | None:
    """(GPU-)hours that the epochs would have taken that a trial stopped early was spared, at its own mean time per
    epoch: an estimate. None for other trials, and without a whole epoch."""
    taken = cost(trial, gpus)
    if trial.state != STOPPED or taken is None or not trial.epochs_done:
        return None
    return taken / trial.epochs_done * (trial.epochs - trial.epochs_done)


def total(values: Sequence[float | None]) -> float | None:
    """The sum of those that there are; None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def total_saved(progress: SweepProgress, gpus: bool) -> float | None:
    """Of all trials: 0 where none was stopped early, None where it cannot be told."""
    stopped = [trial for trial in progress.trials if trial.state == STOPPED]
    return total([saved(trial, gpus) for trial in stopped]) if stopped else 0.0


def value_text(value: Any) -> str:
    """A parameter's value as the job file has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return "''" if value == "" else plain(value)


def parameter_text(trial: TrialState, key: str) -> str:
    """One of its parameters; n/a where the trial has no such."""
    return value_text(trial.parameters[key]) if key in trial.parameters else NOT_AVAILABLE


def by_state(progress: SweepProgress) -> Iterator[tuple[str, int]]:
    """(state, number of trials) of the states that there are, in the leaderboard's order."""
    states = list(dict.fromkeys(trial.state for trial in leaderboard(progress)))
    for state in states:
        yield state, sum(trial.state == state for trial in progress.trials)
