"""A Submission: all that the manifests of one job say, besides what the settings say of the cluster. No secrets.

Made here from a job, an evaluation or an import; `render` turns it into objects, and is a pure function of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from visionjobs.cluster.sizes import PodSize, one_pod
from visionjobs.jobfile import dump_spec
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec, Resources

GRACE_SECONDS = 120
"""Least time between the order to stop and the kill: to end a step, write a checkpoint and the record."""

DAYS = 7
"""Longest life of an object where `limits.hours` sets none."""

IMPORT_SIZE = PodSize(cpus=4, mib=8192, gpus=0, shm_mib=512)
"""A pod that packs a dataset: `data import` keeps a few hundred MiB, whatever the dataset's size."""


@dataclass(frozen=True)
class Submission:
    """One job for a cluster.

    name: of the object: the run's id, or that of an evaluation or import. job: label `visionjobs/job`.
    command: what the head or the only pod runs. resources: of a run, which its pods follow; size: of the one pod
    otherwise. spec: YAML of a run's job, from which its first attempt makes the run where the storage has none.
    code: sha256 of the zip in the storage's `code/` that replaces the image's code, None for the image's own.
    environment: addresses as the cluster sees them. attempts: how often it may be begun, all together.
    seconds: longest life; grace: seconds from the order to stop to the kill.
    """

    name: str
    kind: Literal["run", "evaluate", "import"]
    job: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    resources: Resources | None = None
    size: PodSize | None = None
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
    left = max(1, spec.limits.attempts - attempt + 1)
    hours = spec.limits.hours
    return Submission(
        name=run_id,
        kind="run",
        job=spec.name,
        command=("visionjobs", "attempt", run_id, *(part for item in sets for part in ("--set", item))),
        environment=settings.as_cluster_env() | ({"VISIONJOBS_COMMIT": commit} if commit else {}),
        resources=spec.resources,
        spec=dump_spec(spec),
        code=code,
        attempt=attempt,
        attempts=left,
        seconds=DAYS * 86400 if hours is None else math.ceil(left * (hours + 1) * 3600),
        grace=grace_seconds(checkpoint_seconds),
    )


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
