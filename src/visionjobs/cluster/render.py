"""A job and the settings of a cluster -> the objects that run it there. Pure: the same arguments give the same objects.

The skeletons in k8s/job hold what is the same for every job, and the overlay file what is special about the cluster;
both are read, nothing else: no clock, no network, no environment, no Kubernetes client. `submit` applies exactly this.
"""

from __future__ import annotations

import shlex
from importlib import metadata

from visionjobs.cluster.client import Object
from visionjobs.cluster.overlay import merge, pruned, read_overlay, with_overlay
from visionjobs.cluster.pod_security import pod_templates
from visionjobs.cluster.pods import (
    filled_in,
    labels,
    literal,
    read_skeleton,
    set_stop_seconds,
    submitter_pod,
    work_pod,
)
from visionjobs.cluster.sizes import OBJECT_STORE_MIB, Layout, PodSize
from visionjobs.cluster.submission import Submission
from visionjobs.errors import UserError
from visionjobs.settings import ClusterSettings

LONGEST = 2**31 - 1
"""Seconds: Kubernetes' integers for deadlines have 32 bits."""

START_SECONDS, START_SECONDS_QUEUED = 2 * 3600, 6 * 3600
"""How long the pods of an attempt may take to run, all of them. Without a queue those that came hold GPUs meanwhile."""


def render(submission: Submission, settings: ClusterSettings, backend: str) -> list[Object]:
    """The objects of a job, in the order in which they are applied.

    backend: "rayjob" (the NetworkPolicy of a run or sweep, and its RayJob) or "job" (one Job); evaluations and imports
    are Jobs.
    Raises UserError for an image that is not set, an unknown backend, a skeleton that is not there, and an overlay
    that does not fit.
    """
    if settings.image is None:
        raise UserError(
            "VISIONJOBS_IMAGE is not set: give the image that the cluster can pull, such as "
            "REGISTRY/visionjobs:TAG. `make image` builds one, `make push IMAGE=...` pushes it"
        )
    if backend not in ("rayjob", "job"):
        raise UserError(f"--backend {backend}: there are no manifests for it; expected rayjob or job")
    if backend == "rayjob" and submission.layout is not None:
        objects = [_network_policy(submission, settings), _rayjob(submission, submission.layout, settings)]
    else:
        objects = [_job(submission, settings)]
    overlay = read_overlay(settings.overlay)
    rendered = [pruned(with_overlay(obj, overlay, str(settings.overlay))) for obj in objects]
    for obj in rendered:
        for _, template in pod_templates(obj):
            set_stop_seconds(template)  # after the overlay, which may give pods another grace period
    return rendered


def _network_policy(submission: Submission, settings: ClusterSettings) -> Object:
    skeleton = read_skeleton(settings.skeletons, "networkpolicy.yaml")
    filled = {"metadata": _metadata(submission, settings, queued=False)}
    merged = merge(skeleton, filled, str(settings.skeletons / "networkpolicy.yaml"))
    policy: Object = filled_in(merged, "matchLabels", "visionjobs/run", submission.name)
    return policy


def _rayjob(submission: Submission, layout: Layout, settings: ClusterSettings) -> Object:
    skeleton = read_skeleton(settings.skeletons, "rayjob.yaml")
    filled: Object = {
        "metadata": _metadata(submission, settings, queued=True),
        "spec": {
            # Shells read it twice, with the same words in the end: the submitter's, then, quoted anew by
            # `ray job submit`, the head's. Before them the kubelet, for variables.
            "entrypoint": literal(shlex.join(submission.command)),
            "backoffLimit": (submission.attempts - 1) or None,  # 0 is what KubeRay takes where there is none
            "activeDeadlineSeconds": min(submission.seconds, LONGEST),
            "preRunningDeadlineSeconds": START_SECONDS_QUEUED if settings.queue else START_SECONDS,
            "submitterPodTemplate": submitter_pod(submission, settings),
            "rayClusterSpec": {"rayVersion": metadata.version("ray")},
        },
    }
    merged = merge(skeleton, filled, str(settings.skeletons / "rayjob.yaml"))
    _put_ray_pods(merged["spec"]["rayClusterSpec"], submission, layout, settings)
    return merged


def _put_ray_pods(cluster: Object, submission: Submission, layout: Layout, settings: ClusterSettings) -> None:
    """Head and worker group into `cluster`, the skeleton's rayClusterSpec."""
    _put_pod(cluster["headGroupSpec"], "head", layout.head, submission, settings)
    if layout.worker is None:
        cluster["workerGroupSpecs"] = None
        return
    cluster["headGroupSpec"]["resources"] = {"CPU": "0"}
    (group,) = cluster["workerGroupSpecs"]
    group |= dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), layout.replicas)
    _put_pod(group, "worker", layout.worker, submission, settings)


def _put_pod(group: Object, role: str, size: PodSize, submission: Submission, settings: ClusterSettings) -> None:
    # Ray wants more free in /dev/shm than the object store takes, else it puts it on disk.
    store = min(OBJECT_STORE_MIB, size.shm_mib * 3 // 4)
    group["rayStartParams"]["object-store-memory"] = str(store * 2**20)
    pod = work_pod(submission, settings, "rayjob", role, size)
    group["template"] = merge(pod, group["template"], str(settings.skeletons / "rayjob.yaml"))


def _job(submission: Submission, settings: ClusterSettings) -> Object:
    skeleton = read_skeleton(settings.skeletons, "job.yaml")
    filled: Object = {
        "metadata": _metadata(submission, settings, queued=True),
        "spec": {
            "backoffLimit": submission.attempts - 1,
            "activeDeadlineSeconds": min(submission.seconds, LONGEST),
            "template": work_pod(submission, settings, "job", "job", submission.size),
        },
    }
    return merge(skeleton, filled, str(settings.skeletons / "job.yaml"))


def _metadata(submission: Submission, settings: ClusterSettings, *, queued: bool) -> Object:
    """queued: Kueue admits objects of this kind. Its priority class is of a kind of its own, with the same names."""
    queue = {}
    if queued and settings.queue:
        queue["kueue.x-k8s.io/queue-name"] = settings.queue
        if settings.priority:
            queue["kueue.x-k8s.io/priority-class"] = settings.priority
    return {
        "name": submission.name,
        "namespace": settings.namespace,
        "labels": labels(submission, settings) | queue,
    }
