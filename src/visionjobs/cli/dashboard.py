"""`visionjobs dashboard [RUN]`: Ray's own pages, of the local Ray or of a job on the cluster."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from visionjobs.cli.cluster_runs import Found, look_up, ray_job
from visionjobs.cli.console import err, out, print_warning
from visionjobs.cli.ray import say_where
from visionjobs.errors import ClusterError, UserError, VisionjobsError
from visionjobs.settings import ClusterSettings, Settings

if TYPE_CHECKING:
    from visionjobs.cluster.client import Cluster
    from visionjobs.cluster.port_forward import PortForward
    from visionjobs.cluster.state import JobState, PodState

LOOK_SECONDS = 5.0
"""Between two looks at where the job's head is."""

NO_RAY = "No Ray is up. Start one with `visionjobs ray-up`; a private one of `run` tells its own dashboard."


def dashboard(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="a job on the cluster (default: the local Ray, else the only one)"),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="local port (default: 8265 if free)")
    ] = None,
) -> None:
    """Print the address of Ray's dashboard, the last line on stdout, and how to get the token that it asks for.

    Of a job on the cluster: keeps a port-forward to its head pod open until Ctrl-C or the end of the job; exit status
    0. Exit status 1: the job has no running head, and why.
    """
    if name is None:
        from visionjobs.cluster import local

        here = local.living(Settings.from_env())
        if here is not None:
            say_where(here.dashboard_url, str(here.token_file))
            return
        _forward(*_only_job(), port)
        return
    found = look_up(name)
    on_ray = ray_job(found.run) if found.job is None else None
    if on_ray is not None:
        _say(f"Dashboard: {on_ray.address}\nThe page asks for the token of that Ray, where it has one.")
        out.print(on_ray.address)
        return
    _forward(*_on_cluster(found), port)


def _on_cluster(found: Found) -> tuple[Cluster, JobState]:
    if found.cluster_trouble is not None:
        raise found.cluster_trouble
    if found.cluster is None or found.job is None:
        run = "" if found.run is None else found.run.id
        raise VisionjobsError(
            f"run {run} is not on the cluster, so it has no dashboard. Its state: visionjobs status {run}"
        )
    return found.cluster, found.job


def _only_job() -> tuple[Cluster, JobState]:
    """The one job on the cluster that has not ended. Raises UserError where there is none or more."""
    from visionjobs.cluster.kubeconfig import connect, has_cluster
    from visionjobs.cluster.state import list_jobs

    if not has_cluster():
        raise UserError(NO_RAY)
    cluster = connect(ClusterSettings.from_env())
    jobs = [job for job in list_jobs(cluster) if not job.ended and job.phase != "stopping"]
    if not jobs:
        raise UserError(f"{NO_RAY} Nor is there a job on the cluster (namespace {cluster.namespace}).")
    if len(jobs) > 1:
        names = ", ".join(job.name for job in jobs)
        raise UserError(f"There are {len(jobs)} jobs on the cluster; say which: visionjobs dashboard RUN ({names})")
    return cluster, jobs[0]


def _forward(cluster: Cluster, job: JobState, port: int | None) -> None:
    """Keep the port-forward up until the job has ended."""
    from visionjobs.cluster.dashboard import DASHBOARD_PORT, head_pod
    from visionjobs.cluster.port_forward import PortForward

    head = head_pod(job)
    if head is None:
        why = "; ".join(job.reasons) or "its head pod has not started"
        raise VisionjobsError(f"{job.name} is {job.phase}, and has no dashboard: {why}")
    local_port = port or (DASHBOARD_PORT if _is_free(DASHBOARD_PORT) else 0)
    with PortForward(cluster, head.name, DASHBOARD_PORT, local_port) as forward:
        url = f"http://127.0.0.1:{forward.port}"
        _say(f"Dashboard of {job.name}: {url} (pod {head.name}). Ctrl-C ends the port-forward.")
        _say_token(cluster, head)
        out.print(url)
        with suppress(KeyboardInterrupt):  # the way to end it
            _keep(cluster, job.name, forward)


def _keep(cluster: Cluster, name: str, forward: PortForward) -> None:
    """Follow the job's head to the next attempt; returns when the job has ended."""
    from visionjobs.cluster.dashboard import head_pod
    from visionjobs.cluster.state import find_job

    answers = True
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            job = find_job(cluster, name)
            answers = True
        except ClusterError as error:
            if answers:
                print_warning(f"{error} The port-forward goes on when it answers again.")
            answers = False
            continue
        if job is None or job.ended:
            _say(f"{name} has ended{f': {job.phase}' if job else ''}.")
            return
        found = head_pod(job)
        if found is None and forward.pod is not None:
            _say(f"Pod {forward.pod} is gone ({'; '.join(job.reasons) or job.phase}); waiting for the next.")
        elif found is not None and found.name != forward.pod:
            _say(f"The dashboard is now that of pod {found.name}.")
            _say_token(cluster, found)
        forward.pod = None if found is None else found.name


def _say_token(cluster: Cluster, head: PodState) -> None:
    from visionjobs.cluster.dashboard import token_command

    command = token_command(cluster, head, ClusterSettings.from_env().context)
    _say(f"The page asks for a token, which this prints: {command}")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    err.print(text, soft_wrap=True, markup=False)
