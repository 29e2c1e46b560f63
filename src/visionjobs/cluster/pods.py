"""The pod templates of a job: the skeletons k8s/job/pod.yaml and code.yaml, filled with what the job asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionjobs.cluster.client import Object
from visionjobs.cluster.overlay import merge, read_yaml_object
from visionjobs.cluster.sizes import PodSize
from visionjobs.cluster.submission import Submission
from visionjobs.settings import ClusterSettings, label_value

DRIVER_SECRETS = ("WANDB_API_KEY", "VISIONJOBS_NOTIFY_URL")
"""Keys of the Secret that only the pod with the driver of a run or sweep is given: workers talk to storage alone."""

HOOK_MARGIN = 10
"""Seconds of the grace period that the preStop hook leaves: what has not stopped by then still gets SIGTERM."""

STOP_SECONDS = ("VISIONJOBS_STOP_SECONDS", "RAY_JOB_STOP_WAIT_TIME_S")
"""The longest wait of the preStop hook; and of Ray, between SIGTERM and SIGKILL for a job that is stopped, of which 3
seconds are the default, and no checkpoint."""


def read_skeleton(folder: Path, name: str) -> Object:
    """One of the files in k8s/job. Raises UserError where it is not there or is no mapping."""
    return read_yaml_object(folder / name, f"one of the skeletons in {folder} (VISIONJOBS_K8S)")


def labels(submission: Submission, settings: ClusterSettings) -> dict[str, str]:
    """Labels that every object and pod of a job bears, besides the two in the skeletons."""
    return {
        "visionjobs/kind": submission.kind,
        "visionjobs/job": label_value(submission.job),
        "visionjobs/run": submission.name,
        "visionjobs/attempt": str(submission.attempt),  # the first that this object makes
        "visionjobs/owner": settings.owner,
    }


def literal(text: str) -> str:
    """`text` as the kubelet leaves it alone: in values and arguments it reads $(NAME) as a variable, and $$ as $."""
    return text.replace("$", "$$")


def work_pod(submission: Submission, settings: ClusterSettings, backend: str, role: str, size: PodSize) -> Object:
    """The template of a pod that does the work. role: head, worker or job, its label."""
    pod = read_skeleton(settings.skeletons, "pod.yaml")
    container: Object = {
        "name": "main",
        "image": settings.image,
        "command": [literal(word) for word in submission.command] if role == "job" else None,
        "env": _env(submission, settings, backend, role),
        "resources": {"requests": _amounts(size), "limits": _amounts(size)},
    }
    filled: Object = {
        "metadata": {"labels": labels(submission, settings) | {"visionjobs/role": role}},
        "spec": {
            "terminationGracePeriodSeconds": submission.grace,
            "priorityClassName": settings.priority,
            "containers": [container],
            "volumes": [{"name": "shm", "emptyDir": {"sizeLimit": f"{size.shm_mib}Mi"}}],
        },
    }
    where = str(settings.skeletons / "pod.yaml")
    if submission.code is not None:
        pod = merge(pod, read_skeleton(settings.skeletons, "code.yaml"), str(settings.skeletons / "code.yaml"))
        filled["spec"]["initContainers"] = [_fetch_code(submission, settings, submission.code)]
    template: Object = filled_in(merge(pod, filled, where), "secretKeyRef", "name", settings.secret)
    return template


def set_stop_seconds(template: Object) -> None:
    """Give a pod's variables the time that its grace period leaves its preStop hook and its Ray job."""
    spec = template.get("spec") or {}
    grace = spec.get("terminationGracePeriodSeconds")
    if not isinstance(grace, int):
        return
    for container in spec.get("containers") or []:
        for entry in (container.get("env") if isinstance(container, dict) else None) or []:
            if isinstance(entry, dict) and entry.get("name") in STOP_SECONDS:
                entry["value"] = str(max(0, grace - HOOK_MARGIN))


def submitter_pod(submission: Submission, settings: ClusterSettings) -> Object:
    """What is put into the skeleton of the RayJob's submitter."""
    return {
        "metadata": {"labels": labels(submission, settings) | {"visionjobs/role": "submitter"}},
        "spec": {
            "priorityClassName": settings.priority,
            "containers": [{"name": "main", "image": settings.image}],
        },
    }


def filled_in(tree: Any, parent: str, key: str, value: str) -> Any:
    """A copy of `tree` with `value` wherever a mapping under `parent` has `key: null`."""
    if isinstance(tree, dict):
        copied = {name: filled_in(item, parent, key, value) for name, item in tree.items()}
        found = copied.get(parent)
        if isinstance(found, dict) and key in found and found[key] is None:
            found[key] = value
        return copied
    return [filled_in(item, parent, key, value) for item in tree] if isinstance(tree, list) else tree


def _amounts(size: PodSize) -> dict[str, str]:
    gpus = {"nvidia.com/gpu": str(size.gpus)} if size.gpus else {}
    return {"cpu": str(size.cpus), "memory": f"{size.mib}Mi"} | gpus


def _env(submission: Submission, settings: ClusterSettings, backend: str, role: str) -> list[Object]:
    values = dict(submission.environment) | {
        "VISIONJOBS_STOP_SECONDS": str(submission.grace - HOOK_MARGIN),
        "VISIONJOBS_BACKEND": backend,
        "VISIONJOBS_IMAGE": str(settings.image),
    }
    if submission.kind == "import":
        values["TMPDIR"] = "/cache"  # it unpacks archives, which may be larger than /tmp
    if submission.spec is None or role == "worker":
        return _plain(values)
    values |= {"VISIONJOBS_RUN": submission.name, "VISIONJOBS_SPEC": submission.spec}
    if role == "head":
        values["RAY_JOB_STOP_WAIT_TIME_S"] = values["VISIONJOBS_STOP_SECONDS"]
    return [*_plain(values), *({"name": name, "valueFrom": {"secretKeyRef": _key(name)}} for name in DRIVER_SECRETS)]


def _plain(values: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": literal(value)} for name, value in values.items()]


def _key(name: str) -> Object:
    return {"name": None, "key": name, "optional": True}


def _fetch_code(submission: Submission, settings: ClusterSettings, sha256: str) -> Object:
    return {
        "name": "fetch-code",
        "image": settings.image,
        "command": ["visionjobs", "fetch-code", sha256, "/code"],
        "env": _plain(submission.environment),
    }
