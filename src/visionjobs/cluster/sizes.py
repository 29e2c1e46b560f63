"""How large the pods of a job are: CPUs, memory, GPUs and shared memory, from its `resources`.

Requests and limits are the same for all of them, so that a pod is of the class "Guaranteed": nothing is overcommitted,
and Ray, which takes a container's limits for its own, sees what is there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from visionjobs.spec import JobSpec, Resources
from visionjobs.sweeps import section_of

AUTO_CPUS = 4
"""CPUs of a worker where `resources.cpus` is auto: enough to decode images for one GPU."""

HEAD_CPUS, HEAD_MIB = 2, 4096
"""The head beside a worker group: Ray's own services, the driver, and at the end evaluation and report."""

RAY_MIB, DRIVER_MIB = 1024, 2048
"""What Ray's own processes need in a pod of workers; and what the driver needs, where it is in the same one."""

SWEEP_HEAD_CPUS, SWEEP_HEAD_MIB = 4, 8192
"""The head of a sweep: its driver computes the metrics, figures and report of each trial while the next ones train."""

TRIAL_MIB = 1024
"""What the process needs that drives the workers of one trial, where they are several. Ray puts it on any pod."""

AT_ONCE = 4
"""Trials at once where `sweep.at_once` is auto: rendering cannot look at the cluster."""

OBJECT_STORE_MIB = 512
"""Ray's object store: only a spec, metrics and predicted boxes pass through it."""


@dataclass(frozen=True)
class Share:
    """What each worker gets, resolved: whole CPUs, and 0 or 1 GPU, or a part of one in a sweep."""

    workers: int
    cpus: int
    gpus: float


@dataclass(frozen=True)
class Trials:
    """at_once: trials at the same time; share: what each worker of a trial gets (share.gpus may be a part of one);
    on_device: trials that share a worker's device, which divide its memory; warnings: for the person."""

    at_once: int
    share: Share
    on_device: int
    warnings: tuple[str, ...] = ()


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


def sweep_share(spec: JobSpec) -> Trials:
    """The trials of a sweep on a cluster: `auto` is AT_ONCE trials, with a GPU for each worker. Raises UserError for a
    job without a sweep section."""
    section, share = section_of(spec), cluster_share(spec.resources)
    at_once = min(AT_ONCE if section.at_once == "auto" else section.at_once, section.trials)
    gpus = share.gpus if section.gpus == "auto" else section.gpus
    whole = gpus in (0, 1)
    # Without GPUs the device is the pod's memory, which in a Job all trials share.
    on_device = min(at_once, trials_per_gpu(gpus)) if gpus else at_once
    return Trials(at_once, Share(share.workers, share.cpus, int(gpus) if whole else gpus), on_device)


def trials_per_gpu(part: float) -> int:
    """Trials on one GPU, of which each takes this part. Ray counts in ten thousandths."""
    return 10_000 // round(part * 10_000)


def sweep_layout(spec: JobSpec) -> Layout:
    """A head for the driver, and a group of pods for all trials at once. Trials that share a GPU share a pod; else a
    pod has the workers_per_pod of one trial."""
    trials = sweep_share(spec)
    drivers = TRIAL_MIB if trials.share.workers > 1 else 0
    if 0 < trials.share.gpus < 1:
        workers, pods = trials.on_device, math.ceil(trials.at_once / trials.on_device)
    else:
        workers = spec.resources.workers_per_pod
        pods = trials.at_once * trials.share.workers // workers
    head = PodSize(SWEEP_HEAD_CPUS, SWEEP_HEAD_MIB + trials.at_once * drivers, 0, OBJECT_STORE_MIB)
    return Layout(head, _pod_of(trials.share, spec.resources, workers, RAY_MIB + drivers), pods)


def sweep_pod(spec: JobSpec) -> PodSize:
    """All trials at once in one pod, with Ray's services and the driver."""
    trials = sweep_share(spec)
    drivers = trials.at_once * TRIAL_MIB if trials.share.workers > 1 else 0
    workers = trials.at_once * trials.share.workers
    more = RAY_MIB + SWEEP_HEAD_MIB + drivers
    return _pod_of(trials.share, spec.resources, workers, more, more_cpus=SWEEP_HEAD_CPUS)


def _pod(resources: Resources, workers: int, more_mib: int) -> PodSize:
    return _pod_of(cluster_share(resources), resources, workers, more_mib)


def _pod_of(share: Share, resources: Resources, workers: int, more_mib: int, more_cpus: int = 0) -> PodSize:
    """A pod with `workers`, each with its share, and what else is in it. Of parts of GPUs, as many whole ones as they
    fill: no part is of two."""
    shm = max(1024, mebibytes(resources.memory) * workers // 4)  # batches of data loaders, NCCL, the object store
    memory = mebibytes(resources.memory) * workers + shm + more_mib
    gpus = math.ceil(workers / trials_per_gpu(share.gpus)) if share.gpus else 0
    return PodSize(share.cpus * workers + more_cpus, memory, gpus, shm)


def mebibytes(quantity: str) -> int:
    """'4Gi' -> 4096."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]  # spec.QUANTITY
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]
