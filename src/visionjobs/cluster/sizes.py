"""How large the pods of a job are: CPUs, memory, GPUs and shared memory, from its `resources`.

Requests and limits are the same for all of them, so that a pod is of the class "Guaranteed": nothing is overcommitted,
and Ray, which takes a container's limits for its own, sees what is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from visionjobs.spec import Resources

AUTO_CPUS = 4
"""CPUs of a worker where `resources.cpus` is auto: enough to decode images for one GPU."""

HEAD_CPUS, HEAD_MIB = 2, 4096
"""The head beside a worker group: Ray's own services, the driver, and at the end evaluation and report."""

RAY_MIB, DRIVER_MIB = 1024, 2048
"""What Ray's own processes need in a pod of workers; and what the driver needs, where it is in the same one."""

OBJECT_STORE_MIB = 512
"""Ray's object store: only a spec, metrics and predicted boxes pass through it."""


@dataclass(frozen=True)
class Share:
    """What each worker gets, resolved: whole CPUs, and 0 or 1 GPU, or a part of one in a sweep."""

    workers: int
    cpus: int
    gpus: float


@dataclass(frozen=True)
class PodSize:
    """A pod's main container. mib: memory, which includes shm_mib, its /dev/shm."""

    cpus: int
    mib: int
    gpus: int
    shm_mib: int


@dataclass(frozen=True)
class Layout:
    """The pods of one RayJob: a head, and `replicas` workers where `worker` is not None."""

    head: PodSize
    worker: PodSize | None
    replicas: int


def cluster_share(resources: Resources) -> Share:
    """What `auto` means on a cluster: one GPU and AUTO_CPUS CPUs a worker. Rendering and the pods resolve it alike."""
    gpus = 1 if resources.gpus == "auto" else resources.gpus
    return Share(resources.workers, AUTO_CPUS if resources.cpus == "auto" else resources.cpus, gpus)


def ray_layout(resources: Resources) -> Layout:
    """One pod, if it holds all workers; else a head without workers, and a group of pods with workers_per_pod each."""
    if resources.workers == resources.workers_per_pod:
        return Layout(one_pod(resources), None, 0)
    pods = resources.workers // resources.workers_per_pod
    return Layout(
        PodSize(HEAD_CPUS, HEAD_MIB, 0, OBJECT_STORE_MIB), _pod(resources, resources.workers_per_pod, RAY_MIB), pods
    )


def one_pod(resources: Resources) -> PodSize:
    """All workers in one pod, with Ray's services and the driver."""
    return _pod(resources, resources.workers, RAY_MIB + DRIVER_MIB)


def _pod(resources: Resources, workers: int, more_mib: int) -> PodSize:
    share = cluster_share(resources)
    shm = max(1024, mebibytes(resources.memory) * workers // 4)  # batches of data loaders, NCCL, the object store
    memory = mebibytes(resources.memory) * workers + shm + more_mib
    return PodSize(share.cpus * workers, memory, int(share.gpus * workers), shm)


def mebibytes(quantity: str) -> int:
    """'4Gi' -> 4096."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]  # spec.QUANTITY
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]
