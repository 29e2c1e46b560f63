"""Where an attempt runs, and so which Ray it joins and what `auto` means: this machine, or a pod of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from visionjobs.cluster.inside import connect_inside
from visionjobs.cluster.local import Connection, connect
from visionjobs.cluster.sizes import AUTO_CPUS, Share, cluster_share
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.tracking.mirror import Mirror, open_mirror
from visionjobs.training.in_process import Train
from visionjobs.training.predict_boxes import Stream, stream_on_ray
from visionjobs.training.ray_workers import check_free, resolve_share, train_on_ray
from visionjobs.training.stop import refuse_told

POD_SECONDS = 600.0
"""Longest wait for the pods of the workers to join the head's Ray."""

MISSING_PODS = "see which pods are missing (visionjobs status), and whether they see their GPUs"
MISSING_SHARE = "other jobs hold the rest: submit it again later"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """connect: joins a Ray, for a block; share: what each worker gets of it, and a warning or None (it may have to
    wait, and says so); keeps_logs: whether Ray's logs are stored with the attempt, since the machine goes away;
    train, stream: run the workers and the predictors; mirror: opens the run's, in wandb; completes: whether the attempt
    completes its run, or leaves that to somebody else; trials_on_device: see Work."""

    connect: Callable[[Settings], AbstractContextManager[Connection]]
    share: Callable[[JobSpec, Connection, Say], tuple[Share, str | None]]
    keeps_logs: bool = True
    train: Train = train_on_ray
    stream: Stream = stream_on_ray
    mirror: Callable[[Run, JobSpec, str | None, Callable[[str], None]], Mirror] = open_mirror
    completes: bool = True
    trials_on_device: int = 1


def _free_share(spec: JobSpec, connection: Connection, _say: Say) -> tuple[Share, str | None]:
    """`auto` takes what this machine has. Raises UserError where a demand cannot be met, or others hold it."""
    share, warning = resolve_share(spec, connection.resources.cpus, connection.resources.gpus)
    check_free(share, connection)
    return share, warning


def _demanded_share(spec: JobSpec, connection: Connection, say: Say) -> tuple[Share, str | None]:
    """What was rendered, as a demand: a pod whose GPU cannot be seen must not train on its CPU unnoticed."""
    share = cluster_share(spec.resources)
    await_free(share, connection, say, MISSING_PODS)
    return share, None


def _common_share(spec: JobSpec, connection: Connection, say: Say) -> tuple[Share, str | None]:
    """Of a Ray that others use too: `auto` takes a GPU a worker, if there are so many, and no more CPUs than a pod of
    ours would. Raises UserError where a demand cannot be met at all."""
    total = connection.resources
    share, warning = resolve_share(with_common_cpus(spec, total.cpus), total.cpus, total.gpus)
    await_free(share, connection, say, MISSING_SHARE)
    return share, warning


def with_common_cpus(spec: JobSpec, cpus: int) -> JobSpec:
    """The job with what `auto` means for a worker's CPUs on a Ray of `cpus` that others use too."""
    asked = spec.resources
    if asked.cpus != "auto":
        return spec
    share = max(1, min(AUTO_CPUS, cpus // asked.workers))
    return spec.model_copy(update={"resources": asked.model_copy(update={"cpus": share})})


def await_free(share: Share, connection: Connection, say: Say, advice: str) -> None:
    """Wait, and say so, for what the workers of a run or a trial need. Raises VisionjobsError, with `advice`, after
    POD_SECONDS, and StoppedError where this pod is told to go."""
    cpus, gpus = share.workers * share.cpus, share.workers * share.gpus
    deadline, said = time.monotonic() + POD_SECONDS, ""
    while (free := connection.free()).cpus < cpus or free.gpus < gpus:
        if time.monotonic() > deadline:
            raise VisionjobsError(
                f"{share.workers} worker(s) with {share.cpus} CPU(s) and {share.gpus} GPU(s) each need {cpus} and "
                f"{gpus}; after {POD_SECONDS:.0f} seconds Ray has {free.cpus} and {free.gpus} to give: {advice}"
            )
        refuse_told()
        if (waits := f"waiting for {cpus} CPU(s) and {gpus} GPU(s): Ray has {free.cpus} and {free.gpus}") != said:
            say(said := waits)
        time.sleep(2)


HERE = Place(connect, _free_share, keeps_logs=False)
"""This machine: the Ray that is up, or a private one."""

ONE_POD = Place(connect, _demanded_share)
"""A pod with all workers in it (batch/v1 Job): a private Ray."""

RAY_JOB = Place(connect_inside, _demanded_share)
"""The driver was submitted to a Ray (RayJob): it joins that one."""

COMMON_RAY = Place(connect_inside, _common_share, keeps_logs=False)
"""The driver was submitted to a Ray that was there before (`--backend ray`), whose logs are of others too."""

PLACES = {"rayjob": RAY_JOB, "job": ONE_POD, "ray": COMMON_RAY}
"""By VISIONJOBS_BACKEND, which the manifests set."""
