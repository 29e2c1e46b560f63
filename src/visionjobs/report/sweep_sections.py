"""The sections of a sweep's report that show figures."""

from __future__ import annotations

from visionjobs.report.figures_space import Scale, metric_by_parameter, of_value, parallel_coordinates
from visionjobs.report.figures_sweep import cost_bars, importance_bars, metric_curves
from visionjobs.report.formatting import decimal
from visionjobs.report.page import Block, Figure, Gallery, Section, Text
from visionjobs.report.sweep_axes import axes_of, visible_range
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.report.sweep_tables import cost_table, cost_text
from visionjobs.report.sweep_trials import cost, curve_of, total, total_saved
from visionjobs.sweep_progress import COMPLETE, STOPPED, TrialState

FANOVA = (
    "Importance: functional ANOVA (Hutter, Hoos and Leyton-Brown 2014, ICML, as in Optuna). A random forest is fitted "
    "to the trials' values; a parameter's share is that part of the forest's variance over the search space that its "
    "own effect explains, averaged over all other parameters. It tells of this space and this job only, and with few "
    "trials the forest is a rough guide."
)


def direction(sweep: SweepSummary) -> str:
    """In words."""
    return "higher is better" if sweep.progress.maximise else "lower is better"


def curves_section(sweep: SweepSummary) -> Section:
    """The metric over the epochs."""
    drawn = [trial for trial in sweep.trials if curve_of(trial)]
    if not drawn:
        return Section("curves", "Metric over epochs", (Text("No trial has completed an epoch."),))
    values = [value for trial in drawn for _, value in curve_of(trial)]
    limits = visible_range(values, _of(drawn, sweep.best))
    caption = f"{sweep.metric} after each epoch, a line a trial; {direction(sweep)}"
    caption += "; a cross: stopped early" if any(trial.state == STOPPED for trial in drawn) else ""
    if sweep.best is not None:
        caption += "; thick: the best trial"
    if sweep.best != 0 and any(trial.number == 0 for trial in drawn):
        caption += "; dashed black: trial 0, the job's own"
    caption += beyond(values, limits, "values", "are out of the figure")
    figure = Figure("metric_by_epoch", metric_curves(drawn, sweep.best, sweep.metric, limits), caption)
    return Section("curves", "Metric over epochs", (Gallery((figure,)),))


def _of(trials: list[TrialState], number: int | None) -> list[float]:
    return [value for trial in trials if trial.number == number for _, value in curve_of(trial)]


def beyond(values: list[float], limits: tuple[float, float], what: str, where: str) -> str:
    """How many values an axis does not hold, for a caption."""
    number = sum(not limits[0] <= value <= limits[1] for value in values)
    return f"; {number} of {len(values)} {what} {where}" if number else ""


def space_section(sweep: SweepSummary) -> Section:
    """Parallel coordinates, and the metric against each parameter."""
    title, drawn = "Parameters and metric", of_value(sweep.trials)
    if len(drawn) < 2:
        told = "Fewer than two trials are complete or were stopped early: there is nothing to compare."
        return Section("space", title, (Text(told),))
    best, values = sweep.progress.best, [trial.value or 0.0 for trial in drawn]
    complete = [trial.value or 0.0 for trial in drawn if trial.state == COMPLETE]
    limits = visible_range(values, [best.value] if best and best.value is not None else [])
    scale = Scale(sweep.metric, limits, visible_range(complete), sweep.progress.maximise)
    axes = axes_of(sweep.section.space, drawn)
    at_the_end = beyond(values, limits, "values", "lie beyond the metric's axis and stand at its end")
    png, width = parallel_coordinates(drawn, axes, scale, sweep.best)
    stopped = len(drawn) - len(complete)
    told = (
        "; grey dashes: stopped early, at their last value, without a colour, as values after fewer epochs do not "
        "compare" if stopped else ""
    )  # fmt: skip
    lines = Figure(
        "parallel_coordinates", png,
        f"Parallel coordinates: a line a trial, through its value of each parameter to its {_low(sweep.metric)} after "
        f"the last epoch at the right; darker is better ({direction(sweep)}){told}{at_the_end}", width,
    )  # fmt: skip
    png, width = metric_by_parameter(drawn, axes, scale, sweep.best)
    told = "; hollow: stopped early, their last value, after fewer epochs" if stopped else ""
    points = Figure(
        "metric_by_parameter", png,
        f"{sweep.metric} after the last epoch against each parameter; {direction(sweep)}{told}{at_the_end}", width,
    )  # fmt: skip
    blocks: list[Block] = [Gallery((lines,)), Gallery((points,))]
    notes = [f"{axis.key}: logarithmic axis" for axis in axes if axis.log]
    apart = [
        f"{axis.key} = {axis.under:g} has no logarithm and stands apart" for axis in axes if axis.under is not None
    ]
    if any(axis.categories for axis in axes):
        notes.append("within a category trials are set a little apart, so that each is seen")
    if notes + apart:
        blocks.append(Text("; ".join(notes + apart) + "."))
    return Section("space", title, tuple(blocks))


def _low(title: str) -> str:
    return title[0].lower() + title[1:]


def importance_section(sweep: SweepSummary) -> Section:
    """fANOVA, or why there is none."""
    found, title = sweep.importance, "Parameter importance"
    if found.shares is None:
        return Section("importance", title, (Text(f"Not given: {found.why}."), Text(FANOVA)))
    early = f", before the last one ({found.epochs})" if found.epoch != found.epochs else ", the last one"
    caption = (
        f"Share of the variance of {_low(sweep.metric)} that each parameter explains by itself; {found.trials} trials, "
        f"by their values after epoch {found.epoch}{early}, the latest that all of them reached (failed trials apart)"
    )
    figure = Figure("importance", importance_bars(found.shares), caption)
    notes = [FANOVA]
    if found.epoch != found.epochs:
        notes.append("What matters after few epochs need not matter after all of them.")
    if found.outside:
        lie = "trial lies" if found.outside == 1 else "trials lie"
        notes.append(f"{found.outside} {lie} outside the search space and does not count here.")
    constant = [key for key in sweep.section.space if key not in found.shares]
    if constant:
        notes.append(f"Not shown, as it took one value only: {', '.join(constant)}.")
    return Section("importance", title, (Gallery((figure,)), Text(" ".join(notes))))


def cost_section(sweep: SweepSummary) -> Section:
    """What each trial took, and what stopping trials early saved."""
    title, unit = ("GPU-hours", " GPU-hours") if sweep.gpus else ("Time on the CPU", "")
    taken = total([cost(trial, sweep.gpus) for trial in sweep.trials])
    if taken is None:
        return Section("cost", title, (Text("No trial was begun."),))
    stopped = [trial for trial in sweep.trials if trial.state == STOPPED]
    spared = total_saved(sweep.progress, sweep.gpus)
    png, width = cost_bars(sweep.trials, sweep.gpus)
    figure = Figure("cost", png, f"{title} of each trial, over all its attempts", width)
    told = f"All trials together: {cost_text(taken, sweep.gpus)}{unit}."
    if stopped:
        told += (
            f" Saved by stopping {len(stopped)} of them early: about {cost_text(spared, sweep.gpus)}{unit}"
            f"{_share(taken, spared)}. That is an estimate: the epochs that were left, at the mean time of those that "
            "the trial was trained for."
        )
    elif sweep.section.scheduler == "asha":
        told += " No trial was stopped early."
    blocks: list[Block] = [Text(told), Gallery((figure,))]
    blocks += [cost_table(stopped, sweep.gpus)] if stopped else []
    return Section("cost", title, tuple(blocks))


def _share(taken: float, spared: float | None) -> str:
    return "" if spared is None else f", {decimal(100 * spared / (taken + spared), 0)} % of what all would have taken"
