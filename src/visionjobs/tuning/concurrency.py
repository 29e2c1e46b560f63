"""How many trials run at once, and what each of them gets of a Ray."""

from __future__ import annotations

from dataclasses import dataclass

from visionjobs.cluster.sizes import Share
from visionjobs.spec import JobSpec


@dataclass(frozen=True)
class Trials:
    """at_once: trials at the same time; share: what each worker of a trial gets (share.gpus may be a part of one);
    on_device: trials that share a worker's device, which divide its memory; warnings: for the person."""

    at_once: int
    share: Share
    on_device: int
    warnings: tuple[str, ...] = ()


def resolve_trials(spec: JobSpec, cpus: int, gpus: int, memory_mib: int) -> Trials:
    """`auto` against what there is: CPUs, GPUs, and memory of the machine (or of all pods).

    Raises UserError where one trial alone is more than there is, or sweep.at_once more than fits.
    """
    raise NotImplementedError
