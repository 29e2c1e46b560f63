"""`visionjobs reproduce`: one table of all published figures and ours, running what has no finished run yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from visionjobs.cli.console import err, number, print_error, print_warning
from visionjobs.cli.report import output_store, tell_page
from visionjobs.cli.run import NotOnSampleError, on_sample, run_new
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.jobfile import find_job, job_names, load_job
from visionjobs.report.files import replace_page
from visionjobs.runs import Run, now, open_run, run_ids
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec, flatten
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from visionjobs.report.reproduce_page import Reproduced, Row

FAILED = "failed: "
"""How the problem of a job begins whose training, or whose file, failed."""

OTHER_SETTINGS = "no finished run with the job's settings: "
"""How the problem of a job begins whose finished runs on its dataset are all of other settings."""

MOST_TOLD = 3
"""Runs of a job that were not taken, of which it is told why: the newest."""


@dataclass(frozen=True)
class Wanted:
    """A job to reproduce. job: as it was given; problem: why its file cannot be read, "" where spec is there."""

    job: str
    spec: JobSpec | None
    problem: str = ""


@dataclass(frozen=True)
class Finished:
    """A complete run. settings: flat, as it ended."""

    run: Run
    job: str
    finished: str
    settings: Mapping[str, Any]


def reproduce(
    jobs: Annotated[
        str | None,
        typer.Option("--jobs", help="names or paths: a,b,c (default: every job with published figures)"),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="on the synthetic sample of each job's dataset")] = False,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key of every job: train.epochs=3 (may be repeated)")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="run every job, whatever runs there are")] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="run nothing: without a finished run it is n/a")] = False,
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="write here instead of into the storage")
    ] = None,
) -> None:
    """Set the published figures of all jobs beside ours, in one table.

    For each job the newest finished run counts whose settings are those of the job file now; where there is none, the
    job is run as `visionjobs run` does. A job that fails does not stop the others, but the status is 1. Writes
    reproduce.html, .csv and .json; their folder's address is the last line on stdout.
    """
    from visionjobs.report.reproduce import PAGE, build_reproduction

    if new and no_run:
        raise UserError("--new and --no-run do not go together: one runs every job, the other none")
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    wanted = _wanted(jobs, settings.jobs, sets or [])
    if sample:
        wanted = [replace(one, spec=one.spec and on_sample(one.spec, sets or [])) for one in wanted]
    default = f"reproduce/{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    store = output_store(root, default, out_folder, PAGE)
    finished = [] if new else _finished_runs(root)

    def train(job: str) -> Run | None:
        if no_run:
            return None
        err.print(f"{job}: running it", soft_wrap=True)
        return run_new(settings, root, job, sets or [], sample)

    results = [_reproduce(one, finished, train) for one in wanted]
    _tell(results)
    replace_page(store, build_reproduction(results, now()), PAGE)
    tell_page(store, PAGE)
    failed = [result.job for result in results if result.problem.startswith(FAILED)]
    if failed:
        raise VisionjobsError(f"not reproduced: {', '.join(failed)}; what went wrong is told above and in the table")


def _tell(results: Sequence[Reproduced]) -> None:
    """The table, and what its cells are too small for."""
    from visionjobs.report.reproduce import table_rows
    from visionjobs.report.reproduce_page import SAMPLE

    rows = table_rows(results)
    err.print(_table(rows))
    for result in results:
        if result.problem.startswith(OTHER_SETTINGS):
            err.print(f"{result.job}: {result.problem}", soft_wrap=True, markup=False)
    if any(row.of_sample for row in rows):
        err.print(f"{SAMPLE}: the published ones are of real data", soft_wrap=True)


def _wanted(jobs: str | None, folder: Path, sets: Sequence[str]) -> list[Wanted]:
    """The jobs asked for, else all that have published figures. Raises UserError before anything is trained."""
    if jobs is None:
        found = [one for name in job_names(folder) if (one := _if_published(name, folder, sets))]
        if not found:
            raise UserError(f"No job file in {folder}/ has published figures (`published:`): nothing can be reproduced")
        return found
    names = list(dict.fromkeys(name.strip() for name in jobs.split(",") if name.strip()))
    if not names:
        raise UserError("--jobs: expected names or paths of job files, separated by commas")
    chosen = [Wanted(name, load_job(find_job(name, folder), sets)) for name in names]
    for one in chosen:
        if one.spec is not None and not one.spec.published:
            raise UserError(f'job "{one.job}" has no published figures to reproduce: give its file some (`published:`)')
    return chosen


def _if_published(name: str, folder: Path, sets: Sequence[str]) -> Wanted | None:
    path = find_job(name, folder)
    try:
        spec = load_job(path)
    except UserError as error:
        print_error(str(error))
        return Wanted(name, None, f"{FAILED}{error}")
    return Wanted(name, load_job(path, sets)) if spec.published else None


def _finished_runs(root: Store) -> list[Finished]:
    """All complete runs, the newest first. Those that cannot be read are passed over with a warning."""
    with ThreadPoolExecutor(16) as pool:  # each takes a few reads from storage
        found = list(pool.map(lambda run_id: _finished(root, run_id), run_ids(root)))
    runs = [run for run in found if run is not None]
    return sorted(runs, key=lambda run: (run.finished, run.run.id), reverse=True)


def _finished(root: Store, run_id: str) -> Finished | None:
    try:
        run = open_run(root, run_id)
        record = run.record()
        if record.get("state") != "complete":
            return None
        spec = run.spec_now()
    except UserError as error:
        print_warning(f"{error} It is passed over.")
        return None
    return Finished(run, spec.name, str(record.get("finished") or ""), flatten(spec.model_dump(mode="json")))


def _reproduce(one: Wanted, finished: Sequence[Finished], train: Callable[[str], Run | None]) -> Reproduced:
    """The newest run that is the job's experiment, else one trained now."""
    from visionjobs.report.load import load_summary
    from visionjobs.report.reproduce_page import Reproduced

    if one.spec is None:
        return Reproduced(one.job, "", {}, None, one.problem)
    name, task = one.spec.name, one.spec.task
    published = one.spec.model_dump(mode="json")["published"]
    try:
        run, problem = _newest(one.spec, finished)
        run = run or train(one.job)
        summary = load_summary(run) if run is not None else None
    except NotOnSampleError as error:
        print_warning(str(error))
        return Reproduced(name, task, published, None, "not on the drawn sample")
    except VisionjobsError as error:
        print_error(f"{name}: {error}")
        return Reproduced(name, task, published, None, FAILED + " ".join(str(error).split()))
    return Reproduced(name, task, published, summary, "" if summary else problem)


def _newest(spec: JobSpec, finished: Sequence[Finished]) -> tuple[Run | None, str]:
    """The newest run of the job on its dataset with its settings, or None and why there is none.

    Newer ones that have other settings are told.
    """
    from visionjobs.report.reproduce import differing

    wanted = flatten(spec.model_dump(mode="json"))
    same_data = [one for one in finished if (one.job, one.settings["data.name"]) == (spec.name, wanted["data.name"])]
    problem = "no finished run"
    for passed, one in enumerate(same_data):
        changed = differing(wanted, one.settings)
        if not changed:
            err.print(f"{spec.name}: taking run {one.run.id}", soft_wrap=True)
            return one.run, ""
        if passed == 0:
            problem = f"{OTHER_SETTINGS}{one.run.id} differs in {', '.join(changed)}"
        if passed < MOST_TOLD:
            told = ", ".join(f"{key}: {old} in the job, {new} in the run" for key, (old, new) in changed.items())
            err.print(f"{spec.name}: run {one.run.id} is not taken ({told})", soft_wrap=True, markup=False)
    return None, problem


def _table(rows: Sequence[Row]) -> Table:
    heads = ("job", "metric", "published", "ours", "interval", "difference", "state")
    whole = ("job", "difference")
    columns = (Column(head, no_wrap=head in whole, overflow="fold") for head in heads)
    table = Table(*columns, show_edge=False, pad_edge=False)  # all of it within 80 columns
    for row in rows:
        table.add_row(*map(escape, _cells(row)))
    return table


def _cells(row: Row) -> Iterator[str]:
    ends = row.interval
    yield row.job
    form = f".{row.digits}f"
    yield row.title or "n/a"
    yield number(row.published, form)
    yield number(row.ours, form)
    yield "n/a" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"
    yield number(row.difference, f"+{form}")
    yield row.state.partition(": ")[0]
