"""How far a sweep is, told from its folder alone: its trials, with their metric by epoch, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from visionjobs.run_progress import RunProgress, follow_with_history, run_state
from visionjobs.runs import TRAINED
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import Sweep as SweepSection
from visionjobs.sweeps import Stopped, Sweep, Trial, section_of

COMPLETE, RUNNING, STOPPED, FAILED, INTERRUPTED, WAITING, ENDING = (
    "complete", "running", "stopped early", "failed", "interrupted", "waiting", "ending",
)  # fmt: skip
"""Of a trial. complete: trained, evaluated and reported. ending: trained, and not reported yet. stopped early: by the
scheduler. failed: for good; interrupted: it may be continued. waiting: made, not begun."""


@dataclass(frozen=True)
class TrialState:
    """A trial as its folders tell it.

    state: one of the above, or "silent for ..." as of a run. reason: why it failed or was interrupted, or how early it
    was stopped. epochs_done, epochs: whole ones; step, steps:
    batches. curve: (epoch, counted from 1; value of the metric), up to the decision where it was stopped early.
    value: the metric's after its last epoch. seconds: of all its attempts; gpu_hours: likewise, times the GPUs that it
    held. eta_seconds: to the end of its training.
    """

    number: int
    run: str
    address: str
    parameters: dict[str, Any]
    state: str
    reason: str | None
    epochs_done: int
    epochs: int
    step: int | None
    steps: int | None
    curve: tuple[tuple[int, float], ...]
    value: float | None
    seconds: float
    gpu_hours: float
    eta_seconds: float | None

    @property
    def ended(self) -> bool:
        """Whether it is not tried again."""
        return self.state in (COMPLETE, STOPPED, FAILED)


@dataclass(frozen=True)
class SweepProgress:
    """A sweep as its folder tells it. state: as of a run, "complete" when all trials have ended; wanted: number of
    trials that it is to have, or of all that its search space holds; at_once: of the running attempt, None before it
    began."""

    sweep: str
    job: str
    task: str
    address: str
    state: str
    message: str | None
    metric: str
    maximise: bool
    wanted: int
    at_once: int | None
    trials: tuple[TrialState, ...]
    created: str | None
    finished: str | None

    @property
    def gpu_hours(self) -> float:
        """Of all trials so far: what their attempts held, and not what the sweep could have."""
        return round(sum(trial.gpu_hours for trial in self.trials), 4)

    @property
    def best(self) -> TrialState | None:
        """Of the complete trials the one with the best value after its last epoch, whose weights are kept; of equal
        ones the first. Not of those that were stopped early: they have no weights, and fewer epochs. None where no
        value is a number."""
        return best_trial(self.trials, maximise=self.maximise)


def best_trial(trials: Sequence[TrialState], *, maximise: bool) -> TrialState | None:
    """See SweepProgress.best."""
    values = {trial.number: trial.value for trial in trials if trial.state == COMPLETE and trial.value is not None}
    sign = -1 if maximise else 1
    known = [trial for trial in trials if isfinite(values.get(trial.number, nan))]
    return min(known, key=lambda trial: (sign * values[trial.number], trial.number), default=None)


def trials_wanted(section: SweepSection, record: Mapping[str, Any]) -> int:
    """Number of trials that a sweep is to have, or of all that its search space holds. record: of its folder."""
    return int(record["trials"]) if record.get("exhausted") else section.trials


def follow_sweep(sweep: Sweep, states: Sequence[TrialState] | None = None) -> SweepProgress:
    """Read a sweep's folder; states: of its trials, where they are known. Raises UserError (damaged) and StorageError
    (no answer)."""
    spec, record = sweep.spec(), sweep.folder.record()
    section = section_of(spec)
    claims = sweep.folder.attempts()
    return SweepProgress(
        sweep=sweep.id, job=spec.name, task=spec.task, address=sweep.store.address,
        state=run_state(sweep.folder, record, claims), message=record.get("message"),
        metric=section.metric, maximise=section.maximise,
        wanted=trials_wanted(section, record),
        at_once=claims[-1].info.get("at_once") if claims else None,
        trials=tuple(follow_trials(sweep, sweep.trials(), spec) if states is None else states),
        created=record.get("created"), finished=record.get("finished"),
    )  # fmt: skip


def follow_trials(sweep: Sweep, trials: Sequence[Trial], spec: JobSpec) -> list[TrialState]:
    """The states of these trials. spec: the sweep's."""
    with ThreadPoolExecutor(16) as pool:  # each takes several reads from storage
        return list(pool.map(lambda trial: follow_trial(sweep, trial, spec), trials))


def follow_trial(sweep: Sweep, trial: Trial, spec: JobSpec) -> TrialState:
    """One trial's state."""
    metric = section_of(spec).metric
    run, decision = sweep.run_of(trial), sweep.stopped(trial)
    if not run.store.exists("spec.yaml"):
        return TrialState(
            trial.number, trial.run, run.store.address, trial.parameters, WAITING, None, 0, spec.train.epochs,
            None, None, (), None, 0.0, 0.0, None,
        )  # fmt: skip
    progress, history = follow_with_history(run)
    curve = [(row["epoch"] + 1, row[metric]) for row in history if row.get(metric) is not None]
    state, reason = _state(progress), progress.message
    if decision is not None:
        state = STOPPED
        curve = [(epoch, value) for epoch, value in curve if epoch <= decision.epoch]
        reason = _how_early(decision)
    return TrialState(
        number=trial.number, run=trial.run, address=run.store.address, parameters=trial.parameters,
        state=state, reason=reason, epochs_done=progress.epochs_done,
        epochs=progress.epochs, step=progress.step, steps=progress.steps, curve=tuple(curve),
        value=_last_value(curve, history, decision, metric), seconds=progress.seconds,
        gpu_hours=progress.gpu_hours or 0.0,
        eta_seconds=progress.eta_seconds if state == RUNNING else None,
    )  # fmt: skip


def _how_early(decision: Stopped) -> str:
    reason = f"after epoch {decision.epoch}"
    if decision.cutoff is None:
        return reason
    if decision.value is None:
        return f"{reason}: no value, where {decision.cutoff:.4g} was to be reached"
    return f"{reason}: {decision.value:.4g} did not reach {decision.cutoff:.4g}"


def _last_value(
    curve: Sequence[tuple[int, float]], history: Sequence[Mapping[str, Any]], decision: Stopped | None, metric: str
) -> float | None:
    """The metric after the last epoch, not after the last that had one: it may have become infinite."""
    if decision is not None:
        return decision.value
    return curve[-1][1] if curve and history[-1].get(metric) is not None else None


def _state(progress: RunProgress) -> str:
    if progress.state == "not started":
        return WAITING
    return {TRAINED: ENDING}.get(progress.state, progress.state)


def sweep_eta(progress: SweepProgress) -> float | None:
    """Seconds until all trials have ended: the epochs that are left, at the mean pace of those done, at_once at a time;
    as if no further one were stopped early. None before the first epoch, and where nothing runs or is left."""
    done = sum(trial.epochs_done for trial in progress.trials)
    epochs = max((trial.epochs for trial in progress.trials), default=0)
    left = sum(
        trial.epochs - trial.epochs_done for trial in progress.trials if not trial.ended and trial.state != ENDING
    )
    left += epochs * (progress.wanted - len(progress.trials))
    seconds = sum(trial.seconds for trial in progress.trials)
    if progress.state != RUNNING or not done or not seconds or left <= 0:
        return None
    return seconds / done * left / (progress.at_once or 1)
