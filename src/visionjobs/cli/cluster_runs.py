"""What `logs`, `cancel` and `dashboard` are asked about: a job on the cluster, a run or sweep stored, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visionjobs.errors import UserError, VisionjobsError
from visionjobs.runs import Run, open_run
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.storage import open_store
from visionjobs.sweeps import names_sweep, open_sweep

if TYPE_CHECKING:
    from visionjobs.cluster.client import Cluster
    from visionjobs.cluster.state import JobState


@dataclass(frozen=True)
class Found:
    """cluster, job: None where there is none, or it cannot be asked, for which `cluster_trouble` is the reason.

    run: of a sweep its folder; None where the storage has none of that name, or cannot be asked: `storage_trouble`.
    """

    cluster: Cluster | None
    job: JobState | None
    run: Run | None
    cluster_trouble: VisionjobsError | None
    storage_trouble: VisionjobsError | None


def look_up(name: str) -> Found:
    """Ask the cluster and the storage. Raises what is the matter where neither knows it."""
    run, storage_trouble = find_run(name)
    cluster, job, cluster_trouble = _ask_cluster(name, run)
    if job is None and run is None:
        trouble = cluster_trouble or storage_trouble or UserError(f'There is no "{name}"')
        if cluster_trouble is None and cluster is not None:
            trouble = type(trouble)(f"{trouble} Nor is it on the cluster (namespace {cluster.namespace}).")
        raise trouble
    return Found(cluster, job, run, cluster_trouble, storage_trouble)


def _ask_cluster(name: str, run: Run | None) -> tuple[Cluster | None, JobState | None, VisionjobsError | None]:
    """In the namespace that the run was submitted to."""
    from visionjobs.cluster.kubeconfig import connect, has_cluster
    from visionjobs.cluster.run_status import elsewhere, read_submission, where_submitted
    from visionjobs.cluster.state import find_job

    if not has_cluster():
        return None, None, None
    try:
        submission = {} if run is None else read_submission(run)
        cluster = where_submitted(connect(ClusterSettings.from_env()), submission)
        job = find_job(cluster, name)
        has_ended = run is not None and run.record().get("state") in ("complete", "failed")
        return cluster, job, None if job or has_ended else elsewhere(cluster, submission)
    except VisionjobsError as error:
        return None, None, error


def find_run(name: str) -> tuple[Run | None, VisionjobsError | None]:
    """The run or sweep of that name in the storage, or why it cannot be told or there is none."""
    try:
        settings = Settings.from_env()
        root = open_store(settings.storage, settings.endpoint)
        return open_sweep(root, name).folder if names_sweep(name) else open_run(root, name), None
    except VisionjobsError as error:
        return None, error


@dataclass(frozen=True)
class RayJob:
    """A run that was submitted to a Ray that was there before (`--backend ray`)."""

    address: str
    submission_id: str


def ray_job(run: Run | None) -> RayJob | None:
    """Where the run was submitted to last, if that was a Ray. Raises UserError where it cannot be read."""
    from visionjobs.cluster.run_status import read_submission

    submission = {} if run is None else read_submission(run)
    if submission.get("backend") != "ray":
        return None
    return RayJob(str(submission.get("address")), str(submission.get("submission_id")))


def newest_attempt(run: Run) -> int | None:
    """The number of the newest attempt that has begun."""
    return max((claim.number for claim in run.attempts()), default=None)
