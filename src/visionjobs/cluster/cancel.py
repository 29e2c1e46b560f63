"""Ending a job on the cluster: its attempt is asked to stop with a checkpoint, then its objects are deleted."""

from __future__ import annotations

import time
from collections.abc import Callable

from visionjobs.cluster.client import Cluster, ForbiddenError, Object
from visionjobs.cluster.follow import KINDS_OF
from visionjobs.cluster.state import JobState, find_job
from visionjobs.cluster.submission import GRACE_SECONDS
from visionjobs.errors import ClusterError, StorageError
from visionjobs.runs import Run

LOOK_SECONDS = 2.0
"""Between two looks at whether the attempt has ended."""


def check_may_delete(cluster: Cluster, job: JobState) -> None:
    """Raise ForbiddenError where this user may not delete it: before the run is asked to stop for nothing."""
    kind = KINDS_OF[job.backend]
    if not cluster.may("delete", kind, name=job.name):
        raise ForbiddenError(
            f"not permitted: you may not delete the {kind} {job.name}. Ask whoever runs the cluster for the role "
            f"visionjobs-submitter in the namespace {cluster.namespace} (k8s/cluster)"
        )


def grace_of(cluster: Cluster, job: JobState) -> int:
    """Seconds that the pods of the job have from the order to stop to the kill."""
    obj = cluster.get(KINDS_OF[job.backend], job.name)
    if obj is None:
        return GRACE_SECONDS
    spec = obj["spec"]
    template = spec["rayClusterSpec"]["headGroupSpec"]["template"] if job.backend == "rayjob" else spec["template"]
    return int(template["spec"].get("terminationGracePeriodSeconds") or GRACE_SECONDS)


def wait_for_end(run: Run, cluster: Cluster | None, seconds: float, waited: Callable[[float], None]) -> bool:
    """Wait until the run's attempt has ended, or the job on the cluster has. False: not within `seconds`.

    waited: called every few seconds with the seconds that have passed. Neither the storage nor the cluster has to
    answer each time.
    """
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        if _has_ended(run, cluster):
            return True
        waited(passed)
        time.sleep(min(LOOK_SECONDS, max(0.0, seconds - passed)))
    return _has_ended(run, cluster)


def _has_ended(run: Run, cluster: Cluster | None) -> bool:
    try:
        running = run.record().get("state") == "running"
        job = find_job(cluster, run.id) if running and cluster is not None else None
    except (StorageError, ClusterError):
        return False
    return not running or (cluster is not None and (job is None or job.ended))


def delete_job(cluster: Cluster, job: JobState, *, pods_still_write: bool) -> None:
    """Delete the object with all that it owns, and the run's NetworkPolicy.

    pods_still_write: where that is so, the policy is given to the run's pods, and goes with the last of them: pods that
    must not reach each other cannot write the checkpoint for which they have their grace, and the object that owned it
    goes at once.
    """
    policy = cluster.get("NetworkPolicy", job.name)
    stays = policy is not None and pods_still_write and _give_to_pods(cluster, job)
    cluster.delete(KINDS_OF[job.backend], job.name)
    if policy is not None and not stays:
        cluster.delete("NetworkPolicy", job.name)


def _give_to_pods(cluster: Cluster, job: JobState) -> bool:
    """Make the run's head and workers the owners of its policy; False where it has none."""
    pods = [pod for pod in cluster.list("Pod", {"visionjobs/run": job.name}) if _works(pod)]
    owners = [
        {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        for pod in pods
    ]
    if owners:
        cluster.patch("NetworkPolicy", job.name, {"metadata": {"ownerReferences": owners}})
    return bool(owners)


def _works(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("visionjobs/role") in ("head", "worker")
