"""A Submission: all that the manifests of one job say, besides what the settings say of the cluster. No secrets.

Made here from a job, a sweep of it, an evaluation or an import; `render` turns it into objects, and is a pure function
of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from visionjobs.cluster.sizes import Layout, PodSize, one_pod, ray_layout, sweep_layout, sweep_pod, sweep_share
from visionjobs.jobfile import dump_spec
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.sweeps import section_of

GRACE_SECONDS = 120
"""Least time between the order to stop and the kill: to end a step, write a checkpoint and the record."""

DAYS = 7
"""Longest life of an object where `limits.hours` sets none."""

IMPORT_SIZE = PodSize(cpus=4, mib=8192, gpus=0, shm_mib=512)
"""A pod that packs a dataset: `data import` keeps a few hundred MiB, whatever the dataset's size."""


TRAINING = ("run", "sweep")
"""Kinds that have a folder in the storage, and may be continued."""


@dataclass(frozen=True)
class Submission:
    """One job for a cluster.

    name: of the object: the id of the run or sweep, or that of an evaluation or import. job: label `visionjobs/job`.
    command: what the head or the only pod runs. size: of the pod of a Job; layout: of the pods of a RayJob, None of
    what needs no Ray. spec: YAML of the job of a run or sweep, from which its first attempt makes it where the storage
    has none.
    code: sha256 of the zip in the storage's `code/` that replaces the image's code, None for the image's own.
    environment: addresses as the cluster sees them. attempts: how often it may be begun, all together.
    seconds: longest life; grace: seconds from the order to stop to the kill.
    """

    name: str
    kind: Literal["run", "sweep", "evaluate", "import"]
    job: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    size: PodSize
    layout: Layout | None = None
    spec: str | None = None
    code: str | None = None
    attempt: int = 1
    attempts: int = 3
    seconds: int = DAYS * 86400
    grace: int = GRACE_SECONDS


def run_submission(
    spec: JobSpec, run_id: str, settings: Settings, *, sets: Sequence[str] = (), code: str | None = None,
    commit: str | None = None, attempt: int = 1, checkpoint_seconds: float | None = None,
) -> Submission:  # fmt: skip
    """Training `spec` as run `run_id`.

    sets: key=value, which the pods apply to the stored spec of a run that is continued;
    commit: of the code that travels;
    attempt: number of the attempt that begins; checkpoint_seconds: how long the slowest checkpoint of this job took.
    """
    return Submission(
        name=run_id,
        kind="run",
        job=spec.name,
        command=_attempt(run_id, sets),
        environment=_environment(settings, commit),
        size=one_pod(spec.resources),
        layout=ray_layout(spec.resources),
        spec=dump_spec(spec.model_copy(update={"sweep": None})),
        code=code,
        attempt=attempt,
        attempts=_left(spec, attempt),
        seconds=_seconds(spec, attempt, 1),
        grace=grace_seconds(checkpoint_seconds),
    )


def sweep_submission(
    spec: JobSpec, sweep_id: str, settings: Settings, *, sets: Sequence[str] = (), code: str | None = None,
    commit: str | None = None, attempt: int = 1, checkpoint_seconds: float | None = None,
) -> Submission:  # fmt: skip
    """Searching `spec` as sweep `sweep_id`; the rest as of a run. Raises UserError for a job with no sweep section."""
    rounds = math.ceil(section_of(spec).trials / sweep_share(spec).at_once)
    return Submission(
        name=sweep_id,
        kind="sweep",
        job=spec.name,
        command=_attempt(sweep_id, sets),
        environment=_environment(settings, commit),
        size=sweep_pod(spec),
        layout=sweep_layout(spec),
        spec=dump_spec(spec),
        code=code,
        attempt=attempt,
        attempts=_left(spec, attempt),
        seconds=_seconds(spec, attempt, rounds),
        grace=grace_seconds(checkpoint_seconds),
    )


def _attempt(name: str, sets: Sequence[str]) -> tuple[str, ...]:
    """The command that makes the next attempt of a run or sweep."""
    return ("visionjobs", "attempt", name, *(part for item in sets for part in ("--set", item)))


def _environment(settings: Settings, commit: str | None) -> dict[str, str]:
    return settings.as_cluster_env() | ({"VISIONJOBS_COMMIT": commit} if commit else {})


def _left(spec: JobSpec, attempt: int) -> int:
    return max(1, spec.limits.attempts - attempt + 1)


def _seconds(spec: JobSpec, attempt: int, rounds: int) -> int:
    """Longest life. rounds: of trainings that follow each other; each may take limits.hours, and an hour besides."""
    hours = spec.limits.hours
    return DAYS * 86400 if hours is None else math.ceil(_left(spec, attempt) * rounds * (hours + 1) * 3600)


def grace_seconds(checkpoint_seconds: float | None) -> int:
    """Time for a checkpoint that takes three times as long as any before, and a minute for the rest."""
    return max(GRACE_SECONDS, math.ceil(3 * (checkpoint_seconds or 0) + 60))


def evaluate_submission(
    spec: JobSpec, name: str, arguments: Sequence[str], settings: Settings, *, code: str | None = None
) -> Submission:
    """Evaluating a finished run again, in one pod: `visionjobs evaluate` with `arguments`, the run's id first."""
    return Submission(
        name=name,
        kind="evaluate",
        job=spec.name,
        command=("visionjobs", "evaluate", *arguments),
        environment=settings.as_cluster_env(),
        size=one_pod(spec.resources.model_copy(update={"workers": 1, "workers_per_pod": 1})),
        code=code,
    )


def import_submission(
    name: str, dataset: str, arguments: Sequence[str], settings: Settings, *, code: str | None = None
) -> Submission:
    """Importing a dataset in one pod without a GPU: `visionjobs data import` with `arguments`."""
    return Submission(
        name=name,
        kind="import",
        job=dataset,
        command=("visionjobs", "data", "import", *arguments),
        environment=settings.as_cluster_env(),
        size=IMPORT_SIZE,
        code=code,
    )
