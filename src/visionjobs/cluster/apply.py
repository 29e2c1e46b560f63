"""A job's objects to the cluster, whole or not at all, and those of a run that has ended out of the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.state import JobState
from visionjobs.errors import ClusterError, UserError, VisionjobsError

LOOK_SECONDS = 10.0
"""How long it is asked whether an object arrived whose apply was not answered."""

GONE_SECONDS = 90.0
"""How long a deleted object may take to go: KubeRay ends its RayCluster first."""

PAUSE_SECONDS = 1.0


class PerhapsAppliedError(ClusterError):
    """The cluster broke off when the job itself was applied, and cannot be asked whether it is there."""


def apply_job(cluster: Cluster, objects: Sequence[Object]) -> list[str]:
    """Apply what goes with a job, then the job itself, the last of `objects`, which is made the others' owner.

    Returns warnings. Raises UserError and ClusterError with nothing left in the cluster, or saying what is left;
    PerhapsAppliedError.
    """
    *companions, job = objects
    try:
        for companion in companions:
            cluster.apply(companion)
        stored = _apply_or_find(cluster, job)
    except PerhapsAppliedError:
        raise
    except VisionjobsError as error:
        raise _undone(cluster, companions, error) from error
    except KeyboardInterrupt:  # anything may be there
        for obj in objects:
            with suppress(VisionjobsError):
                cluster.delete(obj["kind"], obj["metadata"]["name"])
        raise
    return [warning for companion in companions for warning in _give_to(cluster, companion, stored)]


def _apply_or_find(cluster: Cluster, job: Object) -> Object:
    """The job as it is stored, also where only the answer was lost."""
    try:
        return cluster.apply(job)
    except ClusterError as error:
        found = _look_again(cluster, job, error)
        if found is None:
            raise
        return found


def _look_again(cluster: Cluster, job: Object, error: ClusterError) -> Object | None:
    """The job, or None where it did not arrive. Raises PerhapsAppliedError where nobody answers."""
    kind, name = job["kind"], job["metadata"]["name"]
    deadline = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)  # what was sent may be on its way still
        with suppress(ClusterError):
            return cluster.get(kind, name)
    raise PerhapsAppliedError(
        f"{error} It broke off while the {kind} {name} was sent, which may be there or not."
    ) from error


def _undone(cluster: Cluster, companions: Sequence[Object], error: VisionjobsError) -> VisionjobsError:
    """`error`, with what could not be taken back."""
    left = []
    for companion in companions:
        kind, name = companion["kind"], companion["metadata"]["name"]
        try:
            cluster.delete(kind, name)
        except VisionjobsError:
            left.append(f"{kind.lower()} {name}")
    if not left:
        return error
    commands = "; ".join(f"kubectl -n {cluster.namespace} delete --ignore-not-found {item}" for item in left)
    return type(error)(f"{error} Nothing runs; what may be left is harmless, and goes with: {commands}")


def _give_to(cluster: Cluster, companion: Object, job: Object) -> list[str]:
    """Make `job` the owner, so that the companion is deleted with it. Not done, that is no more than a warning."""
    kind, name = companion["kind"], companion["metadata"]["name"]
    owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": job["metadata"]["name"]}
    owner["uid"] = job["metadata"]["uid"]
    try:
        cluster.patch(kind, name, {"metadata": {"ownerReferences": [owner]}})
    except VisionjobsError as error:
        return [f"the {kind} {name} will not be deleted with the job ({error})"]
    return []


def remove_ended(cluster: Cluster, state: JobState) -> None:
    """Delete the objects of a job that has ended, and wait until they are gone, so that its name is free.

    Raises UserError where they do not go, ClusterError.
    """
    kinds = ("RayJob", "NetworkPolicy", "Job") if state.backend == "rayjob" else ("Job",)  # its submitter is a Job
    for kind in kinds:
        cluster.delete(kind, state.name)
    deadline = time.monotonic() + GONE_SECONDS
    while left := [kind for kind in kinds if cluster.get(kind, state.name) is not None]:
        if time.monotonic() > deadline:
            raise UserError(
                f"the {left[0]} {state.name}, which has ended, was deleted and is still there after "
                f"{GONE_SECONDS:.0f} s; is the KubeRay operator up? See: kubectl -n {cluster.namespace} get "
                f"{left[0].lower()} {state.name} -o yaml"
            )
        time.sleep(PAUSE_SECONDS)
