"""`visionjobs cancel RUN`: end a job with a checkpoint, so that it can be continued."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from visionjobs.cli.cluster_runs import Found, look_up, newest_attempt, ray_job
from visionjobs.cli.console import err, print_warning
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run, read_progress, request_stop
from visionjobs.settings import ClusterSettings
from visionjobs.sweeps import names_sweep

if TYPE_CHECKING:
    from visionjobs.cluster.client import Cluster
    from visionjobs.cluster.state import JobState

PLAIN_SECONDS = 15.0
"""Without a terminal, a line of progress so often."""


def cancel(
    name: Annotated[str, typer.Argument(metavar="RUN", help="id of a run or sweep; name of an evaluation or import")],
    at_once: Annotated[
        bool, typer.Option("--now", help="do not wait for a checkpoint; pods still have their own grace for one")
    ] = False,
    grace: Annotated[
        int | None, typer.Option("--grace", min=0, help="wait so many seconds at most (default: what its pods have)")
    ] = None,
) -> None:
    """End a job: ask its attempt to stop with a checkpoint, wait for that, then delete it from the cluster.

    A sweep ends with a checkpoint of each trial that runs. The run or sweep stays, and can be continued. One that has
    not begun is deleted at once. On a Ray that was there before, --now leaves no time for a checkpoint. Exit status 0
    also where it had ended before; 1 where a run that is not on the cluster does not stop in time.
    """
    found = look_up(name)
    if found.cluster_trouble is not None:
        raise found.cluster_trouble
    if found.cluster is not None and found.job is not None:
        _on_cluster(found, found.cluster, found.job, at_once, grace)
    elif found.run is not None:
        _elsewhere(found.run, at_once, grace)


def _on_cluster(found: Found, cluster: Cluster, job: JobState, at_once: bool, grace: int | None) -> None:
    from visionjobs.cluster.cancel import check_may_delete, delete_job
    from visionjobs.cluster.run_status import how_to_continue
    from visionjobs.cluster.submission import TRAINING

    if job.phase == "stopping":
        _say(f"{job.name} was cancelled before, and is stopping: {'; '.join(job.reasons)}")
        return
    check_may_delete(cluster, job)
    stopped = job.ended
    if job.phase == "running" and job.kind in TRAINING and not at_once:
        stopped = _stop(found, cluster, job, grace)
    delete_job(cluster, job, pods_still_write=job.phase == "running" and not stopped)
    if job.ended:
        _say(f"{job.name} had ended ({job.phase}): it is deleted from the cluster.")
    else:
        _say(f"{job.name} was {job.phase}, and is deleted from the cluster.")
    if found.run is not None:
        _say_how_to_continue(found.run, job)
    elif job.kind in TRAINING:
        _say(f"Continue with: {how_to_continue(job.name, job.job, job.backend, {})}")


def _stop(found: Found, cluster: Cluster, job: JobState, grace: int | None) -> bool:
    """Ask the attempt to stop and wait. False where it has not ended: it could not be asked, or is too slow."""
    from visionjobs.cluster.cancel import grace_of

    if found.run is None:
        print_warning(
            f"its run folder cannot be reached, so its pods are told to stop at once: {found.storage_trouble}"
        )
        return False
    try:
        if found.run.record().get("state") != "running":
            return False  # its pods run, but no attempt has begun
        seconds = grace_of(cluster, job) if grace is None else grace
        if _ask_and_wait(found.run, cluster, seconds):
            return True
    except VisionjobsError as error:
        print_warning(f"it cannot be asked to stop with a checkpoint: {error}")
        return False
    print_warning(f"it has not stopped within {seconds} s: its pods are told to stop, and killed after their own grace")
    return False


def _elsewhere(run: Run, at_once: bool, grace: int | None) -> None:
    """A run that the cluster knows nothing of: on a machine, or on a Ray of its own."""
    from visionjobs.cluster.submission import GRACE_SECONDS

    state = run.record().get("state") or "not begun"
    if not _stop_on_ray(run, at_once or state != "running"):
        _stop_somewhere(run, state, at_once, GRACE_SECONDS if grace is None else grace)
    _say_how_to_continue(run, None)


def _stop_somewhere(run: Run, state: str, at_once: bool, seconds: int) -> None:
    """Ask the attempt to stop, wherever it runs. Raises VisionjobsError where it has not within `seconds`."""
    if state != "running":
        _say(f"Nothing of {_named(run)} is on the cluster; its state: {state}.")
    elif at_once:
        _ask(run)
        _say(f"Asked {_named(run)} to stop. It is not on the cluster: where it still runs it stops at its next step.")
    elif not _ask_and_wait(run, None, seconds):
        raise VisionjobsError(
            f"{_named(run)} was asked to stop, but has not within {seconds} s. It is not on the cluster: where it "
            f"still runs it stops at its next step; if it was killed: {_again(run, None)}"
        )


def _stop_on_ray(run: Run, at_once: bool) -> bool:
    """With `at_once`, end the run's job on the Ray that it was submitted to, which leaves no time for a checkpoint.
    False: there is none."""
    from visionjobs.cluster.ray_jobs import stop_ray

    job = ray_job(run) if at_once else None
    if job is None or not stop_ray(job.address, job.submission_id):
        return False
    _say(
        f"Job {job.submission_id} on the Ray at {job.address} was told to end, and is killed 3 s later: what it did "
        "since its last checkpoint is lost."
    )
    return True


def _ask(run: Run) -> None:
    request_stop(run.store, f"{ClusterSettings.from_env().owner} cancelled it")


def _ask_and_wait(run: Run, cluster: Cluster | None, seconds: int) -> bool:
    from visionjobs.cluster.cancel import wait_for_end

    _ask(run)
    _say(f"Asked {_named(run)} to stop with a checkpoint; waiting for at most {seconds} s.")
    told = time.monotonic()

    def waited(passed: float) -> None:
        nonlocal told
        text = f"stopping{_step(run)}, {passed:.0f} of {seconds} s"
        if err.is_terminal:
            status.update(text)
        elif time.monotonic() - told > PLAIN_SECONDS:
            told = time.monotonic()
            _say(text)

    with err.status("stopping") as status:
        return wait_for_end(run, cluster, seconds, waited)


def _step(run: Run) -> str:
    """', step 120' where the run tells it."""
    try:
        number = newest_attempt(run)
        progress = read_progress(run.store.at("attempts", f"{number:04}")) if number else None
    except VisionjobsError:
        return ""
    return f", step {progress['step']}" if progress and "step" in progress else ""


def _again(run: Run, job: JobState | None) -> str:
    """The command that continues it. job: that was on the cluster."""
    from visionjobs.cluster.run_status import how_to_continue, read_submission

    submission = read_submission(run)
    backend = job.backend if job else str(submission.get("backend", "local"))
    return how_to_continue(run.id, job.job if job else run.spec().name, backend, submission)


def _say_how_to_continue(run: Run, job: JobState | None) -> None:
    try:
        record = run.record()
    except VisionjobsError:
        record = {}
    match record.get("state"):
        case "complete":
            _say(f"The {_kind(run)} is complete: {run.store.address}")
        case "failed":
            _say(f"The {_kind(run)} failed for good: {record.get('message')}")
        case _:
            _say(f"Continue with: {_again(run, job)}")


def _kind(run: Run) -> str:
    return "sweep" if names_sweep(run.id) else "run"


def _named(run: Run) -> str:
    return f"{_kind(run)} {run.id}"


def _say(text: str) -> None:
    err.print(text, soft_wrap=True, markup=False)
