"""`visionjobs runs`: the runs in storage, newest last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visionjobs.cli.console import err, number, out, print_warning
from visionjobs.errors import UserError, nearest
from visionjobs.runs import Claim, Run, open_run, read_progress, run_ids
from visionjobs.settings import Settings
from visionjobs.spec import flatten
from visionjobs.storage import Store, open_store

MAIN_METRICS = {"classification": "accuracy", "segmentation": "miou", "detection": "floors.0.001.coco.AP"}
"""Task -> the metric that is shown of its runs."""

TITLES = {"floors.0.001.coco.AP": "AP"}
"""A shorter heading for a metric."""

AP = re.compile(r"^floors\.(.+)\.coco\.AP$")

SILENT_SECONDS = 600
"""A run writes its progress at least once an epoch; starting the workers takes half a minute."""


def list_runs(
    job: Annotated[str | None, typer.Option("--job", help="only runs of this job")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="only runs created on or after this date, 2026-01-31")
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="date, job, or a key of metrics.json: accuracy, floors.0.25.coco.AP")
    ] = "date",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a run on stdout")] = False,
) -> None:
    """List the runs in storage by job, date or metric."""
    if since is not None:
        _checked_date(since)
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    with ThreadPoolExecutor(16) as pool:  # each takes a few reads from storage
        found = pool.map(lambda run_id: describe_run(root, run_id), run_ids(root))
        readable = [row for row in found if row is not None]
    rows = [row for row in readable if job in (None, row["job"]) and (since is None or row["created"] >= since)]
    rows.sort(key=_sort_key(sort, rows))
    if as_json:
        for row in rows:
            out.print(json.dumps(row), markup=False)
        return
    sorted_by_metric = sort not in ("date", "job")
    titles = dict.fromkeys(TITLES.get(key, key) for key in (MAIN_METRICS[row["task"]] for row in rows))
    title = sort if sorted_by_metric else "/".join(titles) or "accuracy"
    # 80 columns hold a whole run id, which is what people copy and which begins with job and time; --json has all
    whole = [Column(head, no_wrap=True) for head in ("run", "state", "epochs", title)]
    table = Table(*whole, Column("dataset", overflow="fold"), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        value = row["metrics"].get(sort if sorted_by_metric else main_metric(row["task"], row["metrics"]))
        table.add_row(row["run"], row["state"], str(row["epochs"]), number(value), row["dataset"])
    err.print(table if rows else f"There are no such runs in {root.address}.")


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


def _row(run: Run) -> dict[str, Any]:
    spec, record = run.spec(), run.record()
    claims = run.claims()
    state = record.get("state", "not started")
    if state == "running" and claims:
        state = _last_seen(run, claims[-1])
    metrics = flatten((run.metrics() or {}).get("metrics", {}))
    return {
        "run": run.id,
        "job": spec.name,
        "task": spec.task,
        "dataset": spec.data.name,
        "state": state,
        "message": record.get("message"),
        "epochs": record.get("epochs", spec.train.epochs),
        "attempts": sum(claim.kind == "attempt" for claim in claims),
        "created": record.get("created", ""),
        "gpu_hours": record.get("gpu_hours"),
        "metrics": {key: value for key, value in metrics.items() if isinstance(value, int | float)},
        "address": run.store.address,
    }


def _last_seen(run: Run, claim: Claim) -> str:
    """A run that was killed could not say so: tell how long nothing has been heard of it."""
    progress = read_progress(run.store.at("attempts", f"{claim.number:04}")) or {}
    seconds = (datetime.now(UTC) - datetime.fromisoformat(progress.get("updated", claim.started))).total_seconds()
    return "running" if seconds < SILENT_SECONDS else f"silent for {timedelta(seconds=int(seconds))}"


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
        main = {key for key in known if "." not in key} | {main_metric(row["task"], row["metrics"]) for row in rows}
        told = ", ".join(sorted(main & set(known))) or "none yet"
        raise UserError(
            f"--sort {sort}: expected date, job or a metric of these runs, such as {told}; all of them: "
            f"`visionjobs runs --json`.{nearest(sort, known)}"
        )
    return lambda row: (row["metrics"].get(sort) is not None, row["metrics"].get(sort) or 0.0)
