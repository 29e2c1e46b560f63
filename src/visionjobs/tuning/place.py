"""Where an attempt of a sweep runs, and so which Ray it joins and what `auto` means: this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from visionjobs.cluster.inside import connect_inside
from visionjobs.cluster.local import Connection, connect
from visionjobs.cluster.sizes import AT_ONCE, Trials, sweep_share
from visionjobs.data.residence import device_memory
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.sweeps import section_of
from visionjobs.training.place import MISSING_PODS, MISSING_SHARE, Say, await_free, with_common_cpus
from visionjobs.training.ray_workers import check_free
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
    trials = resolve_trials(spec, total.cpus, total.gpus, device_memory(torch.device("cpu")) // 2**20)
    check_free(trials.share, connection, "a trial")
    return trials


def _cluster_trials(spec: JobSpec, connection: Connection, say: Say) -> Trials:
    """What was rendered, as a demand; as soon as one trial fits, it begins. Raises VisionjobsError after POD_SECONDS,
    and StoppedError where this pod is told to go."""
    trials = sweep_share(spec)
    await_free(trials.share, connection, say, MISSING_PODS)
    return trials


def _common_trials(spec: JobSpec, connection: Connection, say: Say) -> Trials:
    """Of a Ray that others use too: `auto` takes no more trials at once, and no more CPUs for each, than pods of ours
    would (it may be of many small nodes); as soon as one fits, it begins. Raises UserError where a demand cannot be met
    at all, VisionjobsError after POD_SECONDS, and StoppedError where it is told to stop."""
    import ray

    memory = int(ray.cluster_resources().get("memory", 0)) // 2**20
    total = connection.resources
    trials = resolve_trials(with_common_cpus(spec, total.cpus), total.cpus, total.gpus, memory)
    if section_of(spec).at_once == "auto":
        at_once = min(trials.at_once, AT_ONCE)
        trials = replace(trials, at_once=at_once, on_device=min(trials.on_device, at_once))
    await_free(trials.share, connection, say, MISSING_SHARE)
    return trials


HERE = SweepPlace(connect, _machine_trials, keeps_logs=False)
PLACES = {
    "rayjob": SweepPlace(connect_inside, _cluster_trials),
    "job": SweepPlace(connect, _cluster_trials),
    "ray": SweepPlace(connect_inside, _common_trials, keeps_logs=False),
}
"""By VISIONJOBS_BACKEND, as in training/place.py."""
