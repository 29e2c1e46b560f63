"""`visionjobs status [RUN]`: where a run is, how far, and why it does not go on."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.live import Live

from visionjobs.cli.cluster_jobs import connected
from visionjobs.cli.console import err, out, print_warning
from visionjobs.cli.status_view import block, changing, many, next_commands
from visionjobs.cluster.client import Cluster, ForbiddenError
from visionjobs.cluster.run_status import RunStatus, as_json, look_at, with_folder
from visionjobs.cluster.state import JobState, list_jobs
from visionjobs.errors import UserError, nearest
from visionjobs.runs import run_ids
from visionjobs.settings import Settings
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import folder_of, sweep_ids

WATCH_SECONDS = 5.0

SHOWN_HOURS = 24
"""Without RUN, jobs that ended longer ago are left out."""


def status(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="a run, a sweep, or the name of an evaluation or import")
    ] = None,
    json_wanted: Annotated[
        bool, typer.Option("--json", help="one JSON object on stdout; without RUN or with --watch one a line")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="show it every 5 s until the run ends")] = False,
) -> None:
    """Show a run or sweep: its state, pods and what they wait for, progress, ETA, best epoch, or trials, GPU-hours, and
    what to do next.

    Joins the run folder with the cluster of the kubeconfig, if there is one, or the Ray it was submitted to; without
    RUN, all that is on the cluster and did not end over a day ago, else what runs in this storage. Keys of --json: run
    kind job task state reasons message stop backend namespace address owner attempt attempts epochs_done epochs step
    steps stage done total eta_seconds updated best row gpu_hours created finished folder cluster failures next; null
    where absent. Of a sweep also: sweep metric maximise wanted at_once trials.

    Exit status: 0 it could be told, else 2 no such run, 4 the storage, or the cluster or Ray that the run was submitted
    to, does not answer (what the other knows is shown). With --watch: 0 the run is complete, 1 it is not, and may be
    continued, 3 it failed for good.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    if run_id is None:
        if watch:
            raise UserError("--watch: give the RUN to watch; `visionjobs status` lists them")
        _show_all(root, connected(), json_wanted)
    elif watch:
        raise typer.Exit(_watch(run_id, root, connected(), json_wanted))
    else:
        raise typer.Exit(_show(run_id, root, connected(), json_wanted))


def _show(name: str, root: Store, cluster: Cluster | None, json_wanted: bool) -> int:
    """Show one run once. Returns the exit status."""
    found = look_at(name, root, cluster)
    _check_found(found, root, cluster)
    for failure in found.failures:
        print_warning(str(failure.error))
    if json_wanted:
        _print_json(found)
    else:
        err.print(block(found))
    return next((failure.error.exit_status for failure in found.failures if _matters(found, failure.source)), 0)


def _matters(found: RunStatus, source: str) -> bool:
    """Whether what did not answer leaves the state untold: only where it has the run does it have a say."""
    asked = {"rayjob": "cluster", "job": "cluster", "ray": "ray"}.get(found.backend)
    return source == "storage" or (source == asked and not found.settled)


def _check_found(found: RunStatus, root: Store, cluster: Cluster | None) -> None:
    """Raise what hides it, or that there is nothing of this name, with the nearest one."""
    if found.found:
        return
    if found.failures:
        raise found.failures[0].error
    known = [*run_ids(root), *sweep_ids(root), *(job.name for job in (list_jobs(cluster) if cluster else []))]
    where = f"in {root.address}" + (f" or the cluster's namespace {cluster.namespace}" if cluster else "")
    hint = nearest(found.name, known) or " `visionjobs runs` lists them."
    raise UserError(f'There is no run "{found.name}" {where}.{hint}')


def _watch(name: str, root: Store, cluster: Cluster | None, json_wanted: bool) -> int:
    """Show one run until it ends. Returns the exit status. What does not answer is told once, and asked again."""
    shown, seen = None, None
    warned: set[str] = set()
    live = Live(console=err, auto_refresh=False) if err.is_terminal and not json_wanted else None
    with live or nullcontext():
        while True:
            found = look_at(name, root, cluster)
            if shown is None:
                _check_found(found, root, cluster)
            for text in (str(failure.error) for failure in found.failures):
                if text not in warned:
                    warned.add(text)
                    print_warning(text)
            line = changing(found)
            if live is not None:
                live.update(block(found), refresh=True)
            elif line != shown and found.found:
                _print_json(found) if json_wanted else _say(line)
            shown = line
            seen = found.job or seen
            if _is_over(found, seen):
                return replace(found, job=seen).exit_status
            time.sleep(WATCH_SECONDS)


def _is_over(found: RunStatus, seen: JobState | None) -> bool:
    """Whether nothing more will come. seen: its job, now or before."""
    failed = {failure.source for failure in found.failures}
    if "ray" in failed or ("cluster" in failed and found.backend != "ray"):
        return found.settled  # a record that says interrupted may be of the attempt before
    if "storage" in failed:
        return found.job is not None and found.job.ended
    return found.ended or (seen is not None and found.job is None)


def _say(line: str) -> None:
    err.print(f"{datetime.now(UTC):%H:%M:%S} {line}", soft_wrap=True, markup=False)


def _print_json(found: RunStatus) -> None:
    out.print(json.dumps(as_json(found, next_commands(found))), markup=False)


def _show_all(root: Store, cluster: Cluster | None, json_wanted: bool) -> None:
    """What is on the cluster; without one, what runs in this storage.

    Raises ClusterError, UserError; typer.Exit with the status of a storage that cannot tell its part.
    """
    with ThreadPoolExecutor(16) as pool:  # each takes a few reads from storage
        if cluster is None:
            statuses = list(pool.map(lambda name: look_at(name, root, None), _running(root)))
        else:
            jobs = [job for job in list_jobs(cluster) if _is_recent(job)]
            statuses = list(pool.map(lambda job: with_folder(job.name, root, job, cluster.namespace), jobs))
    if cluster is not None and not statuses:
        _check_namespace(cluster)
    failed = [failure.error for found in statuses for failure in found.failures]
    for text in dict.fromkeys(map(str, failed)):
        print_warning(text)
    _print_all(root, cluster, statuses, json_wanted)
    if failed:
        raise typer.Exit(failed[0].exit_status)


def _check_namespace(cluster: Cluster) -> None:
    """Raises UserError where there is no such namespace: nothing runs in it, but not for want of jobs."""
    try:
        found = cluster.get("Namespace", cluster.namespace)
    except ForbiddenError:
        return
    if found is None:
        raise UserError(f"there is no namespace {cluster.namespace} on {cluster.server}: set VISIONJOBS_NAMESPACE")


def _print_all(root: Store, cluster: Cluster | None, statuses: list[RunStatus], json_wanted: bool) -> None:
    if json_wanted:
        for found in statuses:
            _print_json(found)
        return
    where = root.address if cluster is None else f"namespace {cluster.namespace} of the cluster"
    err.print(many(statuses) if statuses else f"Nothing runs in {where}. `visionjobs runs` lists the runs in storage.")
    for found in statuses:
        for reason in found.reasons():
            err.print(f"{found.name}: {reason}", markup=False, soft_wrap=True)


def _running(root: Store) -> list[str]:
    """Runs and sweeps of this storage that have begun and not ended."""
    names = []
    for name in [*run_ids(root), *sweep_ids(root)]:
        try:
            record = folder_of(root, name).record()
        except UserError as error:
            print_warning(str(error))
            continue
        if record.get("state") == "running":
            names.append(name)
    return names


def _is_recent(job: JobState) -> bool:
    ended = job.finished if job.ended else None
    limit = datetime.now(UTC) - timedelta(hours=SHOWN_HOURS)
    return ended is None or datetime.fromisoformat(ended) > limit
