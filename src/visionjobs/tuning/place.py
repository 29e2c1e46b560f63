"""Where an attempt of a sweep runs, and so which Ray it joins and what `auto` means: this machine, or a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psutil

from visionjobs.cluster.inside import connect_inside
from visionjobs.cluster.local import Connection, connect
from visionjobs.cluster.sizes import Trials, sweep_share
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.training.place import POD_SECONDS, Say
from visionjobs.training.ray_workers import FREE_SECONDS
from visionjobs.training.stop import refuse_told
from visionjobs.tuning.concurrency import resolve_trials


@dataclass(frozen=True)
class SweepPlace:
    """connect: joins a Ray, for a block; trials: how many at once, with what (it may have to wait, and says so);
    keeps_logs: whether Ray's logs are stored with the attempt, since the machine goes away."""

    connect: Callable[[Settings], AbstractContextManager[Connection]]
    trials: Callable[[JobSpec, Connection, Say], Trials]
    keeps_logs: bool = True


def _machine_trials(spec: JobSpec, connection: Connection, _say: Say) -> Trials:
    """`auto` takes what this machine has. Raises UserError where a demand cannot be met, or others hold it."""
    total = connection.resources
    trials = resolve_trials(spec, total.cpus, total.gpus, psutil.virtual_memory().total // 2**20)
    cpus = trials.share.cpus * trials.share.workers
    for _ in range(FREE_SECONDS):
        free = connection.free()
        if free.cpus >= cpus and free.gpus >= trials.share.gpus * trials.share.workers:
            return trials
        time.sleep(1)  # a run that has just ended gives back what it held in a moment
    raise UserError(
        f"resources: a trial needs {cpus} CPU(s) and {trials.share.gpus * trials.share.workers} GPU(s), and other runs "
        f"on this Ray leave {free.cpus} and {free.gpus}: wait for them, or lower resources.workers or resources.cpus"
    )


def _cluster_trials(spec: JobSpec, connection: Connection, say: Say) -> Trials:
    """What was rendered, as a demand; as soon as one trial fits, it begins. Raises VisionjobsError after POD_SECONDS,
    and StoppedError where this pod is told to go."""
    trials = sweep_share(spec)
    cpus, gpus = trials.share.cpus * trials.share.workers, trials.share.gpus * trials.share.workers
    deadline, said = time.monotonic() + POD_SECONDS, ""
    while (free := connection.free()).cpus < cpus or free.gpus < gpus:
        if time.monotonic() > deadline:
            raise VisionjobsError(
                f"a trial needs {cpus} CPU(s) and {gpus} GPU(s); after {POD_SECONDS:.0f} seconds Ray has {free.cpus} "
                f"and {free.gpus} to give: see which pods are missing (visionjobs status), and whether they see their "
                "GPUs"
            )
        refuse_told()
        if (waits := f"waiting for {cpus} CPU(s) and {gpus} GPU(s): Ray has {free.cpus} and {free.gpus}") != said:
            say(said := waits)
        time.sleep(2)
    return trials


def _common_trials(spec: JobSpec, connection: Connection, _say: Say) -> Trials:
    """Of a Ray that others use too: `auto` takes all of it, and Tune waits for what others hold."""
    import ray

    memory = int(ray.cluster_resources().get("memory", 0)) // 2**20
    return resolve_trials(spec, connection.resources.cpus, connection.resources.gpus, memory)


HERE = SweepPlace(connect, _machine_trials, keeps_logs=False)
PLACES = {
    "rayjob": SweepPlace(connect_inside, _cluster_trials),
    "job": SweepPlace(connect, _cluster_trials),
    "ray": SweepPlace(connect_inside, _common_trials, keeps_logs=False),
}
"""By VISIONJOBS_BACKEND, as in training/place.py."""
