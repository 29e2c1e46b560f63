"""Objects as the API server gives them, for what tells a job's state from them."""

from __future__ import annotations

import copy
from typing import Any

from visionjobs.cluster.state import JobState, Surroundings, job_state

Object = dict[str, Any]
CREATED, LATER = "2026-01-31T10:00:00Z", "2026-01-31T10:05:00Z"
LABELS = {
    "app.kubernetes.io/managed-by": "visionjobs",
    "visionjobs/run": "deeplab-1",
    "visionjobs/job": "deeplab",
    "visionjobs/owner": "jane",
    "visionjobs/kind": "run",
}


def rayjob(spec: Object | None = None, queue: str | None = None, deleted: bool = False, **status: Any) -> Object:
    labels = LABELS | ({"kueue.x-k8s.io/queue-name": queue} if queue else {})
    metadata = {"name": "deeplab-1", "uid": "u1", "creationTimestamp": CREATED, "labels": labels}
    if deleted:
        metadata["deletionTimestamp"] = LATER
    return {"kind": "RayJob", "metadata": metadata, "spec": spec or {}, "status": status}


def job(spec: Object | None = None, **status: Any) -> Object:
    return rayjob(spec, **status) | {"kind": "Job"}


def pod(
    name: str = "head", role: str = "head", node: str | None = "n1", phase: str = "Pending", **status: Any
) -> Object:
    spec: Object = {"containers": [{"name": "ray"}]} | ({"nodeName": node} if node else {})
    metadata = {"name": name, "creationTimestamp": CREATED, "labels": LABELS | {"visionjobs/role": role}}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}


def container(state: Object, name: str = "ray", last: Object | None = None) -> list[Object]:
    return [{"name": name, "image": "example/visionjobs:1", "state": state, "lastState": last or {}}]


def waiting(reason: str, message: str = "") -> Object:
    return pod(containerStatuses=container({"waiting": {"reason": reason, "message": message}}))


def ended(code: int, reason: str = "Error", **more: Any) -> Object:
    state = {"terminated": {"exitCode": code, "reason": reason, "startedAt": CREATED}}
    return pod(phase="Failed" if code else "Succeeded", containerStatuses=container(state), **more)


def running(name: str = "head", role: str = "head") -> Object:
    return pod(name, role, phase="Running", containerStatuses=container({"running": {"startedAt": LATER}}))


def unschedulable(message: str, name: str = "head", role: str = "head") -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(name, role, node=None, conditions=[condition])


def event(kind: str, name: str, reason: str, message: str, at: str = LATER) -> Object:
    about = {"kind": kind, "name": name}
    return {"metadata": {}, "involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at}


def state(
    obj: Object, *pods: Object, events: tuple[Object, ...] = (), workloads: list[Object] | None = None
) -> JobState:
    return job_state(copy.deepcopy(obj), Surroundings(list(pods), list(events), workloads))
