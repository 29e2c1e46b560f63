"""How many trials run at once, and what each of them gets of a Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass

from visionjobs.cluster.sizes import Share, Trials, mebibytes, trials_per_gpu
from visionjobs.errors import UserError
from visionjobs.spec import JobSpec
from visionjobs.sweeps import section_of

CPUS_PER_WORKER = 2
"""Of a worker without a GPU, where nothing is asked for: with one, its data loading would wait for its training."""


@dataclass(frozen=True)
class _Bound:
    """trials: as many are held by something; told: by what, for the person."""

    trials: int
    told: str


def resolve_trials(spec: JobSpec, cpus: int, gpus: int, memory_mib: int) -> Trials:
    """`auto` against what there is: CPUs, GPUs, and memory of the machine (or of all pods).

    Raises UserError where one trial alone is more than there is, or sweep.at_once more than fits.
    """
    section, asked = section_of(spec), spec.resources
    each = _gpus_each(spec, gpus)
    bounds = [_by_cpus(spec, cpus), _by_memory(spec, memory_mib)]
    if each:
        bounds.insert(0, _by_gpus(spec, gpus, each))
    if section.at_once != "auto":
        at_once = min(section.at_once, section.trials)
        _check_at_once(at_once, bounds)
    else:
        if not each and asked.cpus == "auto":
            bounds.append(_Bound(max(1, cpus // (CPUS_PER_WORKER * asked.workers)), ""))
        at_once = min(section.trials, *(bound.trials for bound in bounds))
    cpu_share = cpus // (at_once * asked.workers) if asked.cpus == "auto" else asked.cpus
    on_device = min(at_once, trials_per_gpu(each)) if each else at_once
    return Trials(at_once, Share(asked.workers, cpu_share, each), on_device, _warnings(spec, gpus))


def _gpus_each(spec: JobSpec, gpus: int) -> int | float:
    """GPUs of each worker; a float only for a part of one. Raises UserError where one trial alone needs more."""
    own, asked, workers = section_of(spec).gpus, spec.resources.gpus, spec.resources.workers
    key, demand = ("resources.gpus", asked) if own == "auto" else ("sweep.gpus", own)
    if demand == "auto":
        return 1 if gpus >= workers else 0
    needed = math.ceil(demand * workers)
    if needed > gpus:
        raise UserError(
            f"{key}: one trial needs {needed} GPU(s), {demand:g} for each of its {workers} worker(s), and Ray sees "
            f"{gpus}; {'lower resources.workers, or ' if workers > 1 else ''}set {key} to "
            f"{'auto or 0' if key == 'resources.gpus' else 'auto'}"
        )
    return int(demand) if demand in (0, 1) else demand


def _by_gpus(spec: JobSpec, gpus: int, each: float) -> _Bound:
    workers = spec.resources.workers
    if each < 1:
        return _Bound(gpus * trials_per_gpu(each), f"{gpus} GPU(s), with {each:g} of one for each trial")
    return _Bound(gpus // workers, f"{gpus} GPU(s), with {workers} for each trial")


def _by_cpus(spec: JobSpec, cpus: int) -> _Bound:
    """With at least one CPU a worker. Raises UserError where one trial alone needs more than there are."""
    asked = spec.resources
    each = 1 if asked.cpus == "auto" else asked.cpus
    needed = each * asked.workers
    if needed > cpus:
        key = "resources.workers" if asked.cpus == "auto" else "resources.cpus"
        raise UserError(
            f"{key}: one trial needs {needed} CPU(s), {each} for each of its {asked.workers} worker(s), and Ray sees "
            f"{cpus}; lower resources.workers{'' if asked.cpus == 'auto' else ' or resources.cpus'}"
        )
    return _Bound(cpus // needed, f"{cpus} CPU(s), with {needed} for each trial (resources.cpus)")


def _by_memory(spec: JobSpec, memory_mib: int) -> _Bound:
    """At least one: resources.memory is what a pod is given, and a trial here may do with less."""
    needed = mebibytes(spec.resources.memory) * spec.resources.workers
    told = f"{memory_mib} MiB of memory, with {needed} for each trial (resources.memory)"
    return _Bound(max(1, memory_mib // needed), told)


def _check_at_once(at_once: int, bounds: list[_Bound]) -> None:
    tightest = min(bounds, key=lambda bound: bound.trials)
    if at_once > tightest.trials:
        raise UserError(
            f"sweep.at_once: {at_once} trials at once, and only {tightest.trials} fit: there are {tightest.told}; "
            "lower sweep.at_once, or set it to auto"
        )


def _warnings(spec: JobSpec, gpus: int) -> tuple[str, ...]:
    workers, demands = spec.resources.workers, (spec.resources.gpus, section_of(spec).gpus)
    if demands == ("auto", "auto") and 0 < gpus < workers:
        return (f"{gpus} GPU(s) for {workers} workers: training on the CPU; to use them set resources.workers={gpus}",)
    return ()
