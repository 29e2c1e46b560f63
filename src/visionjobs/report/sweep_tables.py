"""A sweep's tables: what became of it, the best configuration, the leaderboard, hours."""

from __future__ import annotations

from collections.abc import Sequence

from visionjobs.report.build import PAGE
from visionjobs.report.compare_pairs import NO_BREAK, breakable
from visionjobs.report.formatting import NOT_AVAILABLE, count, decimal, duration, signed
from visionjobs.report.page import Cell, Column, Table
from visionjobs.report.results import difference_cell
from visionjobs.report.sweep_trials import (
    cost,
    finite,
    gain,
    gpu_hours,
    held_gpus,
    hours,
    leaderboard,
    own_trial,
    parameter_text,
    ranks,
    saved,
    value_text,
)  # fmt: skip
from visionjobs.spec import JobSpec
from visionjobs.sweep_progress import COMPLETE, SweepProgress, TrialState
from visionjobs.sweeps import own_parameters, section_of

OWN = "the job's own"
"""What trial 0 is called."""


def report_of(trial: TrialState, trials_at: str | None) -> str:
    """Where its own report lies; "" where it has none, or is not linked. trials_at: of SweepSummary."""
    return f"{trials_at}/{trial.run}/report/{PAGE}" if trial.state == COMPLETE and trials_at is not None else ""


def cost_text(hours: float | None, gpus: bool) -> str:
    """GPU-hours with three digits that mean something, never 0 for what is small; or the time, where there were no
    GPUs."""
    if hours is None:
        return NOT_AVAILABLE
    if gpus or not hours:
        return count(hours) if hours >= 1000 else f"{hours:.3g}"
    return duration(3600 * hours)


def differing(spec: JobSpec, trial: TrialState) -> dict[str, tuple[str, str]]:
    """Parameter -> (the job's own value, the trial's), of those that differ."""
    own = {key: value_text(value) for key, value in own_parameters(spec, list(section_of(spec).space)).items()}
    pairs = {key: (value, parameter_text(trial, key)) for key, value in own.items()}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def best_table(progress: SweepProgress, best: TrialState, metric: str, trials_at: str | None) -> Table:
    """The best trial and trial 0. metric: its title; trials_at: of SweepSummary."""
    own = own_trial(progress)
    rows = [(Cell(f"Trial {best.number}", link=report_of(best, trials_at)), Cell("best"), Cell(decimal(best.value)),
             difference_cell(gain(progress), progress.maximise))]  # fmt: skip
    if own is not None and own.number != best.number:
        last = finite(own.value) if own.state == COMPLETE else None
        told = () if own.state == COMPLETE else (f"{own.state}: {own.reason}" if own.reason else own.state,)
        name = Cell("Trial 0", told, link=report_of(own, trials_at))
        rows.append((name, Cell(OWN), Cell(decimal(last)), Cell(signed(None if last is None else 0.0))))
    heads = (Column("Trial", numeric=False), Column("", numeric=False), Column(metric), Column("Over trial 0"))
    return Table("Best trial", heads, tuple(rows))


def changes_table(changed: dict[str, tuple[str, str]]) -> Table:
    """What `differing` found."""
    columns = (Column("Parameter", numeric=False), Column("The job's own"), Column("Best trial"))
    rows = tuple((Cell(breakable(key)), Cell(own), Cell(found)) for key, (own, found) in changed.items())
    return Table("Parameters that differ", columns, rows)


def leaderboard_table(progress: SweepProgress, spec: JobSpec, metric: str, trials_at: str | None) -> Table:
    """A row a trial. The reason why one ended stands below it, across."""
    keys, place, gpus = list(section_of(spec).space), ranks(progress), held_gpus(progress)
    columns = (
        Column("Trial", numeric=False), Column("Rank"), Column("State", numeric=False), Column(metric),
        Column("Epochs"), *(Column(breakable(key)) for key in keys), Column("Time"),
        *((Column("GPU-hours"),) if gpus else ()),
    )  # fmt: skip
    best = progress.best.number if progress.best else None
    rows = []
    for trial in leaderboard(progress):
        is_best = trial.number == best
        reason = (trial.reason,) if trial.reason and trial.state != COMPLETE else ()
        rows.append((
            Cell(_name(trial, is_best), reason, link=report_of(trial, trials_at)),
            Cell(count(place.get(trial.number))),
            Cell(trial.state.replace(" ", NO_BREAK), (), "better" if is_best else ""),
            Cell(decimal(finite(trial.value)), tone="better" if is_best else ""),
            Cell(f"{trial.epochs_done} of {trial.epochs}"),
            *(Cell(parameter_text(trial, key)) for key in keys),
            Cell(cost_text(hours(trial), gpus=False)),
            *((Cell(cost_text(gpu_hours(trial), gpus=True)),) if gpus else ()),
        ))  # fmt: skip
    return Table("Leaderboard", columns, tuple(rows))


def _name(trial: TrialState, is_best: bool) -> str:
    told = [word for word, holds in (("best", is_best), (OWN, trial.number == 0)) if holds]
    return ", ".join([f"{trial.number}", *told])


def cost_table(trials: Sequence[TrialState], gpus: bool) -> Table:
    """What each trial that was stopped early took, and what was saved."""
    unit = "GPU-hours" if gpus else "Time"
    columns = (Column("Trial", numeric=False), Column("Epochs"), Column(unit), Column(f"{unit} saved"))
    rows = tuple(
        (
            Cell(str(trial.number)),
            Cell(f"{trial.epochs_done} of {trial.epochs}"),
            Cell(cost_text(cost(trial, gpus), gpus)),
            Cell(cost_text(saved(trial, gpus), gpus)),
        )
        for trial in trials
    )
    return Table("Stopped early", columns, rows)
