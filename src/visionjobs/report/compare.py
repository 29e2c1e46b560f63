"""Several runs of one task on the same samples -> one page: numbers and curves together, and each pair tested.

A pure function, as build.py: no storage, no device, no clock.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionjobs.errors import UserError
from visionjobs.report import compare_page
from visionjobs.report.build import TASKS
from visionjobs.report.compare_figures import RUNS
from visionjobs.report.compare_runs import Compared, dataset_of, evaluated_split
from visionjobs.report.compare_task import COMPARISONS
from visionjobs.report.html import render
from visionjobs.report.results import published_difference
from visionjobs.report.summary import RunSummary, as_number

PAGE = "compare.html"
NUMBERS = "compare.json"

FEWEST, MOST = 2, len(RUNS)


def check_ids(ids: Sequence[str]) -> None:
    """Raise UserError where these are not from FEWEST to MOST different runs."""
    if not FEWEST <= len(ids) <= MOST:
        told = "one run" if len(ids) == 1 else f"{len(ids)} runs"
        raise UserError(f"{told} given; expected {FEWEST} to {MOST} runs to compare, as `visionjobs runs` lists them")
    repeated = [run_id for run_id, times in Counter(ids).items() if times > 1]
    if repeated:
        raise UserError(f"{', '.join(repeated)}: given more than once; each run can be compared with other runs only")


def check_finished(run: RunSummary) -> None:
    """Raise UserError, with the state and how to go on, for a run that has no metrics yet."""
    if run.values and run.record.get("outcome", "complete") is not None:  # None: trained further since its end
        return
    state, message = run.record.get("state", "not started"), run.record.get("message")
    told = f"{state}: {message}" if message and message != state else str(state)
    go_on = f"visionjobs run {run.job} --run {run.run}"
    advice = {
        "failed": f"It is not tried again; start a new run: visionjobs run {run.job}",
        "running": f"Wait for its end or, if nothing trains it any more, continue it: {go_on}",
    }.get(state, f"Continue it: {go_on}")
    raise UserError(f"run {run.run} is not finished ({told}): it has no final metrics to compare. {advice}")


def check_comparable(runs: Sequence[RunSummary]) -> None:
    """Raise UserError where figures or samples of these runs cannot stand side by side."""
    for run in runs:
        check_finished(run)
    first = runs[0]
    if first.task not in COMPARISONS:
        known = ", ".join(COMPARISONS)
        raise UserError(f"run {first.run}: no comparison is known for the task {first.task!r}; known: {known}")
    for run in runs[1:]:
        same_name = dataset_of(first)[0] == dataset_of(run)[0]
        on_same = "version: --set data.version=VERSION" if same_name else "dataset: --set data.name=NAME"
        _same(first, run, "task", _task, "compare runs of one task")
        _same(first, run, "dataset", _dataset, f"run both jobs on the same {on_same}")
        _same(first, run, "split", evaluated_split, "compare runs that were evaluated on the same split")
    COMPARISONS[first.task].test.check(runs)


def _same(a: RunSummary, b: RunSummary, what: str, value: Any, advice: str) -> None:
    if value(a) != value(b):
        raise UserError(
            f"run {a.run} and run {b.run} cannot be compared, their {what} is not the same: {value(a)} and {value(b)}. "
            f"Instead: {advice}"
        )


def _task(run: RunSummary) -> str:
    return run.task


def _dataset(run: RunSummary) -> str:
    return "{} version {}".format(*dataset_of(run))


def build_comparison(runs: Sequence[RunSummary], created: str) -> dict[str, bytes]:
    """Path relative to the comparison's folder -> contents: compare.html, compare.json and figures/*.png.

    `created`: the time in UTC, told on the page. Raises UserError where the runs cannot be compared.
    """
    check_ids([run.run for run in runs])
    check_comparable(runs)
    task = runs[0].task
    kind = COMPARISONS[task]
    compared = Compared(tuple(runs), TASKS[task], kind, tuple(kind.test.compare(runs)))
    page = compare_page.build_page(compared, created)
    numbers = json.dumps(_values(compared, created), indent=1, allow_nan=False)
    figures = {f"figures/{figure.name}.png": figure.png for figure in page.figures()}
    return {PAGE: render(page).encode("utf-8"), NUMBERS: numbers.encode("utf-8"), **figures}


def _values(compared: Compared, created: str) -> dict[str, Any]:
    first = compared.runs[0]
    return {
        "schema": 1,
        "created": created,
        "task": first.task,
        "dataset": dict(zip(("name", "version"), dataset_of(first), strict=True)),
        "split": evaluated_split(first),
        compared.task.unit: compared.task.samples(first),
        "runs": [_run_values(compared, run) for run in compared.runs],
        "pairs": [compared.kind.test.values(pair, compared.runs) for pair in compared.pairs],
        "settings": {key: list(values) for key, values in compared.differing_settings().items()},
    }


def _run_values(compared: Compared, run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.run,
        "job": run.job,
        "model": run.setting("model.name"),
        "epochs": compared.epochs(run),
        "metrics": {metric.key: run.value(metric.key) for metric in compared.metrics},
        "intervals": {metric.key: _list(run.interval(metric.key)) for metric in compared.metrics},
        "published": dict(_published(run)),
        "best_epoch": run.best_epoch(compared.task.score),
        "gap_at_end": compared.gaps(run),
        "images_per_second": compared.images_per_second(run),
        "gpu_hours": as_number(run.record.get("gpu_hours")),
    }


def _published(run: RunSummary) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, figure in run.published.items():
        ours, theirs = run.value(key), as_number(figure.get("value"))
        difference = published_difference(run, key)
        yield key, {"value": theirs, "source": figure.get("source"), "ours": ours, "difference": difference}


def _list(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)
