"""`visionjobs logs RUN`: what a job prints, on the cluster while it is there, from the run folder afterwards."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from visionjobs.cli.cluster_runs import Found, RayJob, find_run, look_up, newest_attempt, ray_job
from visionjobs.cli.console import err, print_warning
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.runs import Run

if TYPE_CHECKING:
    from visionjobs.cluster.client import Cluster
    from visionjobs.cluster.state import JobState

_writing = threading.Lock()


def logs(
    name: Annotated[str, typer.Argument(metavar="RUN", help="id of a run or sweep; name of an evaluation or import")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="wait for it and go on until it has ended, over retries")
    ] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", help="only this attempt of the run")] = None,
    pod: Annotated[str | None, typer.Option("--pod", help="this pod's log instead of the driver's")] = None,
    every: Annotated[bool, typer.Option("--all", help="all pods, each line after its pod's name")] = False,
) -> None:
    """Print what a job's driver printed, as it is, on stdout; why there is nothing yet, and retries, on stderr.

    While the cluster has its pods it is read there, afterwards from the run folder. Exit status with --follow: 0 the
    run is complete, 1 it may be continued, 3 it failed for good; 4 the cluster did not answer. Without: 0 shown.
    """
    if sum((attempt is not None, pod is not None, every)) > 1:
        raise UserError("--attempt, --pod and --all do not go together: give one of them")
    if attempt is not None and follow:
        raise UserError("--attempt and --follow do not go together: what is followed is the attempt that runs")
    found = look_up(name)
    if found.cluster_trouble is not None:
        if follow:
            raise found.cluster_trouble
        print_warning(str(found.cluster_trouble))
    on_ray = ray_job(found.run) if found.job is None else None
    job = None if on_ray is None else _from_ray(on_ray, found.run, follow, attempt)
    if job is None:
        job = _from_cluster(found, follow, attempt, pod, every)
    if follow:
        _end(found.run or find_run(name)[0], job)  # a manifest applied by hand makes its run when it begins


def _from_cluster(found: Found, follow: bool, attempt: int | None, pod: str | None, every: bool) -> JobState | None:
    """From the pods while they are there, then from the run folder. Returns the job as it was at its end."""
    cluster, job = found.cluster, found.job
    if cluster is None or job is None or not _is_live(job, found.run, attempt):
        _stored(found, attempt, pod)
        return job
    if follow:
        return _followed(cluster, job, pod, every)
    _now(cluster, job, pod, every)
    return job


def _from_ray(job: RayJob, run: Run | None, follow: bool, attempt: int | None) -> JobState | None:
    """What the Ray has of the newest attempt, to its end with `follow`; the job as it is then. None: the Ray has
    nothing (any more), or is not asked."""
    from visionjobs.cluster.ray_jobs import follow_ray, ray_logs, ray_state

    def write(text: str) -> None:
        _write("", text.encode(errors="surrogateescape"))

    if attempt is not None and run is not None and attempt != newest_attempt(run):
        return None
    try:
        state = ray_state(job.address, job.submission_id)
        if state is not None and follow:
            return follow_ray(job.address, job.submission_id, write)
        if state is not None:
            write(ray_logs(job.address, job.submission_id))
    except VisionjobsError as error:
        if follow:
            raise
        print_warning(str(error))
        return None
    return state


def _is_live(job: JobState, run: Run | None, attempt: int | None) -> bool:
    """Whether pods have the log, or will have it. Of all attempts only the newest has pods."""
    from visionjobs.cluster.follow import driver_pods

    if attempt is not None and run is not None and attempt != newest_attempt(run):
        return False
    return not job.ended or any(pod.started for pod in driver_pods(job))


def _followed(cluster: Cluster, job: JobState, pod: str | None, every: bool) -> JobState | None:
    """Follow it to its end."""
    from visionjobs.cluster.follow import Follower

    follower = Follower(cluster, job.name, _write_with_pod if every else _write, _say, pod=pod, every=every)
    state = follower.follow()
    if follower.gone:
        _say(f"{job.name} was deleted from the cluster.")
    return state


def _now(cluster: Cluster, job: JobState, pod: str | None, every: bool) -> None:
    """What the pods' logs hold at this moment. Raises VisionjobsError where none of them has begun."""
    from visionjobs.cluster.follow import driver_pods, named_pod

    chosen = job.pods if every else [named_pod(job, pod)] if pod is not None else driver_pods(job)[-1:]
    started = [one for one in chosen if one.started]
    write = _write_with_pod if every else _write
    for one in started:
        for line in cluster.pod_log(one.name, one.container):
            write(one.name, line)
    if not started:
        why = "; ".join(job.reasons) or "its pod has not started"
        raise VisionjobsError(f"{job.name} is {job.phase}: {why}. Wait for its log: visionjobs logs {job.name} -f")


def _stored(found: Found, attempt: int | None, pod: str | None) -> None:
    """From the run folder. Raises UserError where nothing is stored."""
    from visionjobs.cluster.stored_logs import stored_logs

    if found.run is None:
        raise found.storage_trouble or UserError(
            "the pods are gone; the logs of evaluations and imports are not stored"
        )
    if pod is not None:
        raise UserError(f"pod {pod} is gone; the run's stored logs: visionjobs logs {found.run.id}")
    run = found.run
    stored = stored_logs(run, attempt)
    there = [log for log in stored if log.driver is not None]
    for log in there:
        if len(stored) > 1:
            _say(f"Attempt {log.attempt}:")
        _write("", log.driver or b"")
    for log in stored:
        if log.ray:
            _say(f"Ray's own logs of attempt {log.attempt} ({log.ray} files): {log.store.address}/ray")
    if not there:
        raise UserError(f"{_why_none(run, attempt)} Its state: visionjobs status {run.id}")


def _why_none(run: Run, attempt: int | None) -> str:
    from visionjobs.cluster.run_status import read_submission

    which = f"run {run.id}" if attempt is None else f"attempt {attempt} of run {run.id}"
    if not read_submission(run):
        return f"{which} has no stored log: it ran on the machine it was started on, and its log is in that terminal."
    return f"{which} has no stored log: it has not begun, or its pod ended before it could store any."


def _end(run: Run | None, state: JobState | None) -> None:
    """Say how it ended, and end as it did."""
    from visionjobs.cluster.outcome import exit_status
    from visionjobs.cluster.run_status import how_to_continue, read_submission

    status = exit_status(run, state)
    if state is not None and state.ended:
        reasons = f": {'; '.join(state.reasons)}" if state.reasons else ""
        _say(f"{state.name} has ended: {state.phase}{reasons}")
    if status == 1 and run is not None:
        submission = read_submission(run)
        backend = state.backend if state else str(submission.get("backend", "local"))
        _say(f"Continue with: {how_to_continue(run.id, run.spec().name, backend, submission)}")
    if status:
        raise typer.Exit(status)


def _say(text: str) -> None:
    with _writing:
        err.print(text, soft_wrap=True, markup=False)


def _write(_pod: str, line: bytes) -> None:
    with _writing:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def _write_with_pod(pod: str, line: bytes) -> None:
    _write(pod, b"[%s] %s%s" % (pod.encode(), line, b"" if line.endswith(b"\n") else b"\n"))
