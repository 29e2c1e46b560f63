"""SweepSummary -> the files of a sweep's report folder. A pure function: no storage, no device, no clock."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from visionjobs.data.catalog import SAMPLE_SUFFIX
from visionjobs.report.build import PAGE
from visionjobs.report.formatting import count, decimal, plain, signed
from visionjobs.report.html import render
from visionjobs.report.page import Block, Bullets, Code, Page, Section, Text, Tile
from visionjobs.report.sweep_provenance import provenance
from visionjobs.report.sweep_sections import (
    cost_section,
    curves_section,
    direction,
    importance_section,
    space_section,
)  # fmt: skip
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.report.sweep_tables import best_table, changes_table, cost_text, differing, leaderboard_table
from visionjobs.report.sweep_trials import by_state, cost, gain, total, total_saved
from visionjobs.sweep_progress import COMPLETE, FAILED, RUNNING, TrialState

OPTIMISTIC = (
    "The best of {trials} trials was chosen by the validation split, which makes its value there an optimistic "
    "estimate: part of a lead over the others may be luck, the more so the more trials there are. {test}"
)
WITH_TEST = "The dataset's test split was not used to choose: the trial's own report measures it there."
WITHOUT_TEST = "The dataset has no test split that could tell without bias how good it is."


def build_sweep_report(sweep: SweepSummary) -> dict[str, bytes]:
    """Path relative to the sweep's report folder -> contents: report.html and figures/*.png."""
    page = build_page(sweep)
    files = {f"figures/{figure.name}.png": figure.png for figure in page.figures()}
    return {PAGE: render(page).encode("utf-8"), **files}


def build_page(sweep: SweepSummary) -> Page:
    """The report as a page, not drawn yet."""
    spec, progress = sweep.spec, sweep.progress
    subtitle = (
        f"{progress.task}: {spec.model.name} on {spec.data.name}",
        f"version {spec.data.version}",
        f"{spec.train.epochs} {'epoch' if spec.train.epochs == 1 else 'epochs'} a trial",
        f"sweep {progress.sweep}",
    )
    sections = (
        _notes(sweep),
        _best(sweep),
        _leaderboard(sweep),
        curves_section(sweep),
        space_section(sweep),
        importance_section(sweep),
        cost_section(sweep),
        provenance(sweep),
    )
    title = f"{progress.job}: sweep over {_counted(len(sweep.trials), 'trial')}"
    return Page(title, subtitle, tuple(_tiles(sweep)), tuple(section for section in sections if section is not None))


def _counted(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def _tiles(sweep: SweepSummary) -> Iterator[Tile]:
    best, gpus = sweep.progress.best, sweep.gpus
    yield Tile(
        f"Best {sweep.metric[0].lower()}{sweep.metric[1:]}",
        decimal(best.value if best else None),
        f"trial {best.number}" if best else "no trial is complete",
        (direction(sweep),),
    )
    yield Tile("Over trial 0", signed(gain(sweep.progress)), "the job's own configuration")
    states = ", ".join(f"{number} {state}" for state, number in by_state(sweep.progress))
    yield Tile("Trials", count(len(sweep.trials)), states)
    unit = "GPU-hours" if gpus else "Time"
    taken, spared = total([cost(trial, gpus) for trial in sweep.trials]), total_saved(sweep.progress, gpus)
    yield Tile(unit, cost_text(taken, gpus), "all trials" if gpus else "all trials, on the CPU")
    yield Tile("Saved", cost_text(spared, gpus), f"{'GPU-hours ' if gpus else ''}by early stopping, estimated")


def _notes(sweep: SweepSummary) -> Section | None:
    warnings, notes, progress = [], [], sweep.progress
    failed = [trial for trial in sweep.trials if trial.state == FAILED]
    left = [trial for trial in sweep.trials if not trial.ended]
    if progress.message and progress.state != COMPLETE:
        warnings.append(f"The sweep: {progress.message}")
    if failed:
        warnings.append(f"{_counted(len(failed), 'trial')} failed: the leaderboard tells why.")
    if left or len(sweep.trials) < progress.wanted:
        then = f"the sweep may be continued by {sweep.continued_by}"
        warnings.append(
            f"{_counted(len(sweep.trials) - len(left), 'trial')} of {count(progress.wanted)} ended: "
            f"{'the sweep goes on' if progress.state == RUNNING else then}"
        )
    if sweep.spec.data.name.endswith(SAMPLE_SUFFIX):
        warnings.append("The dataset is a drawn sample: what is best on it need not be best on real data.")
    for key, (old, new) in (sweep.record.get("changes") or {}).items():
        notes.append(f"{key} was changed from {plain(old)} to {plain(new)} when the sweep was continued.")
    blocks: list[Block] = [Bullets(tuple(warnings), warning=True)] if warnings else []
    blocks += [Bullets(tuple(notes))] if notes else []
    return Section("notes", "Notes", tuple(blocks)) if blocks else None


def _best(sweep: SweepSummary) -> Section:
    title, best = "Best configuration", sweep.progress.best
    metric = f"{sweep.metric}, on the validation split after the last epoch; {direction(sweep)}. {sweep.definition}"
    if best is None:
        return Section("best", title, (Text("No trial is complete: there is no best one."), Text(metric)))
    blocks: list[Block] = [
        best_table(sweep.progress, best, sweep.metric, sweep.trials_at),
        Text(metric),
        Text(_optimistic(sweep)),
    ]
    return Section("best", title, (*blocks, *_configuration(sweep, best)))


def _optimistic(sweep: SweepSummary) -> str:
    complete = sum(trial.state == COMPLETE for trial in sweep.trials)
    test = WITH_TEST if sweep.has_test_split else WITHOUT_TEST
    if complete == 1:
        return f"One trial is complete: there was nothing to choose from. {test}"
    return OPTIMISTIC.format(trials=len(sweep.trials), test=test)


def _configuration(sweep: SweepSummary, best: TrialState) -> Iterator[Block]:
    changed = differing(sweep.spec, best)
    if changed:
        yield changes_table(changed)
    else:
        yield Text("Its parameters are the job's own: the search found no better ones.")
    if sweep.job_file:
        save = "" if "/" in sweep.job_path else f", save the job file below as {sweep.job_path}, then"
        yield Text(f"To train it again, or further, as a job of its own{save}:")
        yield Code(f"visionjobs run {shlex.quote(sweep.job_path)}")
        yield Text("The job file:")
        yield Code(sweep.job_file.rstrip())


def _leaderboard(sweep: SweepSummary) -> Section:
    if not sweep.trials:
        return Section("leaderboard", "Leaderboard", (Text("There are no trials yet."),))
    told = (
        "Complete trials by their value after the last epoch; then those that were stopped early, by the epochs that "
        "they reached and their value there, which does not compare with that after more epochs; then the others."
    )
    if sweep.trials_at is not None:
        told += " A complete trial's number leads to its own report."
    table = leaderboard_table(sweep.progress, sweep.spec, sweep.metric, sweep.trials_at)
    return Section("leaderboard", "Leaderboard", (table, Text(told)))
