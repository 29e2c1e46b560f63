"""`visionjobs runs`: the runs and sweeps in storage, newest last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visionjobs.cli.cluster_jobs import ClusterJobs
from visionjobs.cli.console import err, number, out, print_warning
from visionjobs.cli.runs_sweeps import OF_SWEEPS, describe_sweep, sweep_table
from visionjobs.cluster.run_status import cluster_state, joined_state
from visionjobs.cluster.state import JobState
from visionjobs.cluster.submission import TRAINING
from visionjobs.errors import UserError, nearest
from visionjobs.run_progress import run_state
from visionjobs.runs import Run, open_run, run_ids
from visionjobs.settings import Settings
from visionjobs.spec import flatten
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import sweep_ids

MAIN_METRICS = {"classification": "accuracy", "segmentation": "miou", "detection": "floors.0.001.coco.AP"}
"""Task -> the metric that is shown of its runs."""

TITLES = {"floors.0.001.coco.AP": "AP"}
"""A shorter heading for a metric."""

AP = re.compile(r"^floors\.(.+)\.coco\.AP$")


def list_runs(
    job: Annotated[str | None, typer.Option("--job", help="only runs and sweeps of this job")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="only those created on or after this date, 2026-01-31")
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="date, job, or a key of metrics.json: accuracy, floors.0.25.coco.AP")
    ] = "date",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a run or sweep on stdout")] = False,
) -> None:
    """List the runs in storage by job, date or metric, and the sweeps; with a kubeconfig, also those that only the
    cluster knows.

    A sweep's trials are not among the runs: `visionjobs status SWEEP` lists them. A metric sorts the runs alone.
    """
    if since is not None:
        _checked_date(since)
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    cluster = ClusterJobs()
    with ThreadPoolExecutor(16) as pool:  # each takes a few reads from storage
        found = [
            *pool.map(lambda run_id: describe_run(root, run_id), run_ids(root)),
            *pool.map(lambda sweep_id: describe_sweep(root, sweep_id), sweep_ids(root)),
        ]
    rows = _with_cluster([row for row in found if row is not None], cluster.take())
    rows = [row for row in rows if job in (None, row["job"]) and (since is None or row["created"] >= since)]
    runs = [row for row in rows if row["kind"] == "run"]
    runs.sort(key=_sort_key(sort, runs))
    sweeps = [row for row in rows if row["kind"] == "sweep"]
    sweeps.sort(key=_sort_key("job" if sort == "job" else "date", sweeps))
    if as_json:
        for row in runs + sweeps:
            out.print(json.dumps(row), markup=False)
        return
    if not rows:
        err.print(f"There are no such runs in {root.address}.")
    if runs:
        err.print(_table(runs, sort))
    if sweeps:
        err.print(sweep_table(sweeps))


def _table(rows: list[dict[str, Any]], sort: str) -> Table:
    """A line a run, with the metric that it is sorted by, or its task's."""
    sorted_by_metric = sort not in ("date", "job")
    tasks = dict.fromkeys(row["task"] for row in rows if row["task"])  # what has not begun tells none
    titles = dict.fromkeys(TITLES.get(MAIN_METRICS[task], MAIN_METRICS[task]) for task in tasks)
    title = sort if sorted_by_metric else "/".join(titles) or "accuracy"
    # 80 columns hold a whole run id, which is what people copy and which begins with job and time; --json has all
    whole = [Column(head, no_wrap=True) for head in ("run", "state", "epochs", title)]
    table = Table(*whole, Column("dataset", overflow="fold"), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        key = sort if sorted_by_metric or not row["task"] else main_metric(row["task"], row["metrics"])
        epochs = "" if row["epochs"] is None else str(row["epochs"])
        table.add_row(row["run"], row["state"], epochs, number(row["metrics"].get(key)), row["dataset"])
    return table


def main_metric(task: str, metrics: Iterable[str]) -> str:
    """The key that is shown of a run with these metrics: of a detection run that has none at confidence .001, AP at its
    lowest floor."""
    floors = {float(found[1]): key for key in metrics if (found := AP.match(key))}
    wanted = MAIN_METRICS[task]
    return floors[min(floors)] if floors and wanted not in floors.values() else wanted


def describe_run(root: Store, run_id: str) -> dict[str, Any] | None:
    """One run's row: identity, state and its metrics that are numbers, by dotted key.

    None, with a warning, where it cannot be read.
    """
    try:
        return _row(open_run(root, run_id))
    except UserError as error:
        print_warning(str(error))
        return None


def _with_cluster(rows: list[dict[str, Any]], jobs: Iterable[JobState]) -> list[dict[str, Any]]:
    """Rows of which each tells its state on the cluster too, and rows of runs and sweeps that have no folder yet."""
    training = {job.name: job for job in jobs if job.kind in TRAINING}
    for row in rows:
        job = training.pop(row["run"], None)
        if job is not None:
            row["state"] = joined_state(row["state"], row["started"], row["finished"], job)
    return rows + [_cluster_row(job) for job in training.values()]


def _cluster_row(job: JobState) -> dict[str, Any]:
    """A run or sweep that only the cluster knows: submitted by its manifest, and not begun."""
    absent = ("task", "dataset", "message", "started", "finished", "gpu_hours", "address")
    created = datetime.fromisoformat(job.created).isoformat()
    told = {"run": job.name, "job": job.job, "state": cluster_state(job), "attempts": 0, "created": created}
    own = dict.fromkeys(OF_SWEEPS) if job.kind == "sweep" else {"epochs": None, "metrics": {}}
    return dict.fromkeys(absent) | {"kind": job.kind} | told | own


def _row(run: Run) -> dict[str, Any]:
    spec, record = run.spec(), run.record()
    claims = run.claims()
    metrics = flatten((run.metrics() or {}).get("metrics", {}))
    return {
        "kind": "run",
        "run": run.id,
        "job": spec.name,
        "task": spec.task,
        "dataset": spec.data.name,
        "state": run_state(run, record, claims),
        "message": record.get("message"),
        "epochs": record.get("epochs", spec.train.epochs),
        "attempts": sum(claim.kind == "attempt" for claim in claims),
        "created": record.get("created", ""),
        "started": next((claim.started for claim in reversed(claims) if claim.kind == "attempt"), None),
        "finished": record.get("finished"),
        "gpu_hours": record.get("gpu_hours"),
        "metrics": {key: value for key, value in metrics.items() if isinstance(value, int | float)},
        "address": run.store.address,
    }


def _checked_date(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--since {text}: expected a date such as 2026-01-31") from error


def _sort_key(sort: str, rows: list[dict[str, Any]]) -> Any:
    if sort == "date":
        return lambda row: row["created"]
    if sort == "job":
        return lambda row: (row["job"], row["created"])
    known = sorted({key for row in rows for key in row["metrics"]})
    if rows and sort not in known:
        main = {key for key in known if "." not in key} | {
            main_metric(row["task"], row["metrics"]) for row in rows if row["task"]
        }
        told = ", ".join(sorted(main & set(known))) or "none yet"
        raise UserError(
            f"--sort {sort}: expected date, job or a metric of these runs, such as {told}; all of them: "
            f"`visionjobs runs --json`.{nearest(sort, known)}"
        )
    return lambda row: (row["metrics"].get(sort) is not None, row["metrics"].get(sort) or 0.0)
