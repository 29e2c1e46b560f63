"""A job's objects to the cluster, whole or not at all, and those of a run that has ended out of the way.

Two people may submit the same run at once, so the job is created, not applied: one of them gets the name. What is taken
back or put aside is deleted by its uid, so that it is never the other's.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from visionjobs.cluster.client import Cluster, ConflictError, Object
from visionjobs.cluster.state import JobState
from visionjobs.errors import ClusterError, UserError, VisionjobsError

LOOK_SECONDS = 10.0
"""How long it is asked whether an object arrived whose creation was not answered."""

GONE_SECONDS = 90.0
"""How long a deleted object may take to go: KubeRay ends its RayCluster first."""

PAUSE_SECONDS = 1.0

Made = dict[str, Object | None]
"""Kind -> the object that this call made; None where the cluster's answer was lost, and it may be there or not."""


class PerhapsAppliedError(ClusterError):
    """The cluster broke off when the job itself was sent, and cannot be asked whether it is there."""


class NameTakenError(UserError):
    """There is a job of that name, which another submit made meanwhile."""


def apply_job(cluster: Cluster, objects: Sequence[Object]) -> list[str]:
    """Make what goes with a job, then the job itself, the last of `objects`, which becomes the others' owner.

    Returns warnings. Raises UserError and ClusterError with nothing of this call left in the cluster, or saying what
    is left; NameTakenError with all left to the other; PerhapsAppliedError.
    """
    *companions, job = objects
    kind, name = job["kind"], job["metadata"]["name"]
    made: Made = {}
    try:
        for companion in companions:
            _put(cluster, companion, made)
        stored = _create_or_find(cluster, job, made)
        return [warning for companion in companions for warning in _give_to(cluster, companion, stored, made)]
    except (PerhapsAppliedError, NameTakenError):
        raise
    except VisionjobsError as error:
        raise _explained(cluster, job, error, _take_back(cluster, job, made)) from error
    except KeyboardInterrupt:
        if kind in _take_back(cluster, job, made):
            raise PerhapsAppliedError(
                f"interrupted, and the {kind} {name} could not be taken back: it may be there."
            ) from None
        raise


def _put(cluster: Cluster, companion: Object, made: Made) -> None:
    """Create it, or bring one into shape that is there: left by a submit that broke off, or of one at the same time."""
    try:
        _create(cluster, companion, made)
    except ConflictError:
        cluster.apply(companion)


def _create_or_find(cluster: Cluster, job: Object, made: Made) -> Object:
    """The job as it is stored, also where only the answer was lost."""
    kind, name = job["kind"], job["metadata"]["name"]
    try:
        return _create(cluster, job, made)
    except ConflictError as error:
        if cluster.get(kind, name) is None:  # a quota that two changed at once is a conflict too
            raise
        raise NameTakenError(
            f"another submit of {name} was faster, so this one made nothing: `visionjobs status {name}` tells more"
        ) from error
    except ClusterError as error:
        found = _look_again(cluster, job, error)
        if found is None:
            del made[kind]
            raise
        made[kind] = found
        return found


def _create(cluster: Cluster, obj: Object, made: Made) -> Object:
    """Create an object and note that in `made`."""
    kind = obj["kind"]
    with _ctrl_c_afterwards():
        made[kind] = None
        try:
            made[kind] = stored = cluster.create(obj)
        except UserError:
            del made[kind]
            raise
    return stored


@contextmanager
def _ctrl_c_afterwards() -> Iterator[None]:
    """Ctrl-C in this block takes effect at its end, when it is known what is to be taken back. Not longer than one
    request may take."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt


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


def _give_to(cluster: Cluster, companion: Object, job: Object, made: Made) -> list[str]:
    """Make `job` the owner, so that the companion is deleted with it. Not done, that is no more than a warning.

    It is applied whole: another submit, which was refused, may have taken back what it had made for both.
    """
    kind, metadata = companion["kind"], companion["metadata"]
    owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": job["metadata"]["name"]}
    owner["uid"] = job["metadata"]["uid"]
    try:
        with _ctrl_c_afterwards():
            stored = cluster.apply(companion | {"metadata": metadata | {"ownerReferences": [owner]}})
            if kind in made:
                made[kind] = stored
    except VisionjobsError as error:
        return [f"the {kind} {metadata['name']} will not be deleted with the job ({error})"]
    return []


def _take_back(cluster: Cluster, job: Object, made: Made) -> list[str]:
    """Delete what this call made, the job first. Returns the kinds of which something may be left."""
    left = []
    for kind, obj in reversed(made.items()):
        if obj is None:
            left.append(kind)
            continue
        metadata = obj["metadata"]
        same = {"uid": metadata["uid"]}
        if kind != job["kind"]:  # whose status the operator writes
            same["resourceVersion"] = metadata["resourceVersion"]
        try:
            cluster.delete(kind, metadata["name"], **same)
        except ConflictError:  # another submit has made it its own
            continue
        except VisionjobsError:
            left.append(kind)
    return left


def _explained(cluster: Cluster, job: Object, error: VisionjobsError, left: Sequence[str]) -> VisionjobsError:
    """`error`, with what could not be taken back."""
    name = job["metadata"]["name"]
    if not left:
        return error
    if job["kind"] in left:
        return PerhapsAppliedError(f"{error} The {job['kind']} {name} may be there or not.")
    commands = "; ".join(
        f"kubectl -n {cluster.namespace} delete --ignore-not-found {kind.lower()} {name}" for kind in left
    )
    return type(error)(f"{error} Nothing runs; what may be left is harmless, and goes with: {commands}")


def remove_ended(cluster: Cluster, state: JobState) -> None:
    """Delete the objects of a job that has ended, and wait until they are gone, so that its name is free.

    Nothing where another has done so meanwhile. Raises UserError where they do not go, ClusterError.
    """
    kind, *others = ("RayJob", "NetworkPolicy", "Job") if state.backend == "rayjob" else ("Job",)
    job = cluster.get(kind, state.name)
    if job is None or job["metadata"]["creationTimestamp"] != state.created:
        return
    doomed = {kind: job["metadata"]["uid"]}
    for other in others:  # a RayJob's submitter is a Job
        obj = cluster.get(other, state.name)
        if obj is not None and _is_owned_by_none_but(obj, job):
            doomed[other] = obj["metadata"]["uid"]
    for one, uid in doomed.items():
        with suppress(ConflictError):  # gone, and there is another
            cluster.delete(one, state.name, uid=uid)
    deadline = time.monotonic() + GONE_SECONDS
    while left := [one for one, uid in doomed.items() if _uid(cluster.get(one, state.name)) == uid]:
        if time.monotonic() > deadline:
            raise UserError(
                f"the {left[0]} {state.name}, which has ended, was deleted and is still there after "
                f"{GONE_SECONDS:.0f} s; is the KubeRay operator up? See: kubectl -n {cluster.namespace} get "
                f"{left[0].lower()} {state.name} -o yaml"
            )
        time.sleep(PAUSE_SECONDS)


def _is_owned_by_none_but(obj: Object, job: Object) -> bool:
    owners = obj["metadata"].get("ownerReferences") or []
    return all(owner["uid"] == job["metadata"]["uid"] for owner in owners)


def _uid(obj: Object | None) -> str | None:
    return None if obj is None else str(obj["metadata"]["uid"])
