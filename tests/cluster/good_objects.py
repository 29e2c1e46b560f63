"""A RayJob and a Job, written by hand, in which there is nothing to object to; tests break one thing at a time."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

LABELS = {"app.kubernetes.io/name": "visionjobs", "visionjobs/job": "resnet", "visionjobs/owner": "jane"}


def good_pod(container: str, *, gpus: int = 0) -> Object:
    """A pod template: an init container, a main container with GPUs, /dev/shm in memory and a preStop hook."""
    resources: Object = {"cpu": "4", "memory": "8Gi"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    image = "registry.example/visionjobs:1.0"
    return {
        "metadata": {"labels": dict(LABELS)},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 120,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [
                {
                    "name": "code", "image": image, "securityContext": dict(context),
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/scratch"}],
                }
            ],
            "containers": [
                {
                    "name": container, "image": image, "securityContext": dict(context),
                    "env": [
                        {"name": "VISIONJOBS_STORAGE", "value": "s3://bucket/prefix"},
                        {"name": "AWS_SECRET_ACCESS_KEY",
                         "valueFrom": {"secretKeyRef": {"name": "visionjobs", "key": "AWS_SECRET_ACCESS_KEY"}}},
                    ],
                    "resources": {"limits": dict(resources), "requests": dict(resources)},
                    "ports": [{"name": "dashboard", "containerPort": 8265}],
                    "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "touch stop"]}}},
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/scratch"}, {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            ],
        },
    }  # fmt: skip


def good_job() -> Object:
    """A batch/v1 Job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "resnet-1", "namespace": "visionjobs", "labels": dict(LABELS)},
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": 3600,
            "ttlSecondsAfterFinished": 60,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "visionjobs", "operator": "In", "values": [2, 3, 5]},
                    }
                ]
            },
            "template": good_pod("visionjobs", gpus=1),
        },
    }


def good_rayjob(groups: int = 1) -> Object:
    """A RayJob with a head and groups of workers."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "resnet-1", "namespace": "visionjobs", "labels": dict(LABELS)},
        "spec": {
            "submissionMode": "K8sJobMode",
            "entrypoint": "visionjobs attempt resnet-1",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "backoffLimit": 2,
            "activeDeadlineSeconds": 3600,
            "preRunningDeadlineSeconds": 600,
            "submitterConfig": {"backoffLimit": 1},
            "submitterPodTemplate": good_pod("submitter"),
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104  # the container's, not this machine's
                    "resources": {"CPU": "0"},
                    "template": good_pod("ray-head"),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": f"workers-{number}",
                        "replicas": 2, "minReplicas": 2, "maxReplicas": 2,
                        "rayStartParams": {},
                        "template": good_pod("ray-worker", gpus=1),
                    }
                    for number in range(groups)
                ],
            },
        },
    }  # fmt: skip


def planted(obj: Object, path: str, value: Any) -> Object:
    """`obj` with `value` at a path such as 'spec.containers.0.image'; None removes what is there."""
    *parts, last = path.split(".")
    node: Any = obj
    for part in parts:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if isinstance(node, list):
        node[int(last)] = value
    elif value is None:
        del node[last]
    else:
        node[last] = value
    return obj
