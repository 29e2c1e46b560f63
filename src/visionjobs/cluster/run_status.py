"""A run's status: its folder joined with its job on the cluster. Either may be absent, or not answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from visionjobs.cluster.client import Cluster
from visionjobs.cluster.outcome import status_of
from visionjobs.cluster.state import JobState, find_job
from visionjobs.cluster.submission import TRAINING
from visionjobs.errors import MissingObjectError, StorageError, UserError, VisionjobsError
from visionjobs.run_progress import RunProgress, follow_run
from visionjobs.runs import RUN_ID, TRIAL_ID, Run, stop_requested
from visionjobs.storage import Store
from visionjobs.sweep_progress import SweepProgress, follow_sweep, sweep_eta
from visionjobs.sweeps import folder_of, names_sweep, open_sweep

OBJECT_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
"""What can name a Job."""

FINAL = ("complete", "failed", "interrupted", "failed to start")
"""States of a run that ended; "silent for ..." is one too where no cluster says more."""


OF_TRIALS = ("epochs_done", "epochs", "step", "steps", "stage", "done", "total", "row")
"""Keys of as_json that a sweep itself has no value of."""

OF_SWEEPS = ("sweep", "metric", "maximise", "wanted", "at_once", "trials")
"""Keys of as_json that only a sweep has."""


@dataclass(frozen=True)
class Failure:
    """A part that could not be told. source: "storage", "cluster" or "ray"."""

    source: str
    error: VisionjobsError


@dataclass(frozen=True)
class RunStatus:
    """One run, sweep, evaluation or import.

    progress: its folder's, None where there is none; sweep: a sweep's trials besides; job: its object's on the cluster,
    or its job's on the Ray that it was submitted to; None where there is none (any more), or the folder is enough;
    submission: submission.json, {} where there is none; namespace: in which it was looked for, None where no cluster
    was asked; stop: why it was asked to stop before it began.
    """

    name: str
    progress: RunProgress | None
    job: JobState | None
    submission: dict[str, Any]
    namespace: str | None
    failures: tuple[Failure, ...] = ()
    stop: str | None = None
    sweep: SweepProgress | None = None

    @property
    def found(self) -> bool:
        """Whether there is anything of that name."""
        return self.progress is not None or self.job is not None or self.stop is not None

    @property
    def state(self) -> str:
        """complete, failed (for good), interrupted (may be continued), failed to start, not started, running, silent
        for ..., or the phase on the cluster: queued, pending, starting, stopping."""
        if self.job is None:
            return "unknown" if self.progress is None else self.progress.state
        if self.progress is None:
            return cluster_state(self.job)
        return joined_state(self.progress.state, self.progress.started, self.progress.finished, self.job)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in FINAL or self.state.startswith("silent")

    @property
    def exit_status(self) -> int:
        """Of who waited for its end: 0 complete, 3 failed for good, 1 not complete."""
        if self.progress is None or self.progress.state == "not started":
            return status_of(None, None, self.job)
        return status_of(self.progress.state, self.progress.finished, self.job)

    @property
    def settled(self) -> bool:
        """Whether its folder alone tells how it ended, since it was submitted last. On a Ray nothing begins it anew."""
        known, submitted = self.progress, self.submission.get("submitted")
        if known is None:
            return False
        if known.state == "interrupted":
            return self.backend == "ray" and not _before(known.started, submitted)
        return known.state == "failed" or (known.state == "complete" and not _before(known.finished, submitted))

    @property
    def kind(self) -> str:
        """run, sweep, evaluate or import."""
        return "sweep" if names_sweep(self.name) else self.job.kind if self.job else "run"

    @property
    def backend(self) -> str:
        """rayjob, job, ray, or local."""
        return self.job.backend if self.job else str(self.submission.get("backend", "local"))

    def reasons(self) -> Iterator[str]:
        """Why it is where it is, one line each."""
        if self.job is not None:
            yield from self.job.reasons
            if self.state == "running" and self.progress is not None and self.progress.state.startswith("silent"):
                yield f"it runs, and its run folder is {self.progress.state}: see its log"
        if self.stop is not None:
            yield f"it is not begun, because {self.stop}"


def cluster_state(job: JobState) -> str:
    """Of an evaluation, an import, or a run or sweep that has no folder yet: a failure ended what its object was
    for."""
    failed = "failed to start" if job.kind in TRAINING else "failed"
    return {"succeeded": "complete", "failed": failed}.get(job.phase, job.phase)


def joined_state(state: str, started: str | None, finished: str | None, job: JobState) -> str:
    """The record knows how a run ended, the cluster what goes on: of both the newer counts.

    state, finished: the record's; started: when its last attempt began.
    """
    if state == "failed" or (state == "complete" and not _before(finished, job.created)):
        return state
    if not job.ended:
        return job.phase
    if started is None or _before(started, job.created):  # it ended before it got so far as to begin an attempt
        return "failed to start" if job.phase == "failed" else state
    going = state == "running" or state.startswith("silent")
    return "interrupted" if going and not _before(job.finished, started) else state


def _before(one: str | None, other: str | None) -> bool:
    """Whether `one` is known to be earlier; times as ISO 8601."""
    return one is not None and other is not None and datetime.fromisoformat(one) < datetime.fromisoformat(other)


def where_submitted(cluster: Cluster, submission: Mapping[str, Any]) -> Cluster:
    """The namespace that a run was submitted to, whatever VISIONJOBS_NAMESPACE says now."""
    namespace = submission.get("namespace")
    if submission.get("backend") not in ("rayjob", "job") or not namespace or namespace == cluster.namespace:
        return cluster
    return replace(cluster, namespace=str(namespace))


def elsewhere(cluster: Cluster, submission: Mapping[str, Any]) -> UserError | None:
    """That a run which this cluster does not know was submitted to another one."""
    server = submission.get("server")
    if not server or server == cluster.server:
        return None
    return UserError(f"it was submitted to {server}, and the kubeconfig is of {cluster.server}: use that one's")


def look_at(name: str, root: Store, cluster: Cluster | None) -> RunStatus:
    """All that is known of `name`. What does not answer is told in `failures`; raises nothing for it."""
    found = with_folder(name, root, None, None)
    job = None
    if cluster is not None:
        cluster = where_submitted(cluster, found.submission)
        found = replace(found, namespace=cluster.namespace)
        trouble: VisionjobsError | None
        try:
            job = find_job(cluster, name) if OBJECT_NAME.match(name) else None
            trouble = None if job or found.settled else elsewhere(cluster, found.submission)
        except VisionjobsError as error:
            trouble = error
        failures = found.failures if trouble is None else (*found.failures, Failure("cluster", trouble))
        found = replace(found, job=job, failures=failures)
    return _with_ray(found) if job is None and found.backend == "ray" and not found.settled else found


def _with_ray(found: RunStatus) -> RunStatus:
    """With its job on the Ray that it was submitted to."""
    from visionjobs.cluster.ray_jobs import ray_state

    try:
        job = ray_state(str(found.submission.get("address")), str(found.submission.get("submission_id")))
    except VisionjobsError as error:
        return replace(found, failures=(*found.failures, Failure("ray", error)))
    return replace(found, job=job)


def with_folder(name: str, root: Store, job: JobState | None, namespace: str | None) -> RunStatus:
    """What is known of `name`, whose job on the cluster (None: there is none) was read in `namespace`."""
    try:
        return _folder(name, root, job, namespace)
    except (StorageError, UserError) as error:
        return RunStatus(name, None, job, {}, namespace, (Failure("storage", error),))


def _folder(name: str, root: Store, job: JobState | None, namespace: str | None) -> RunStatus:
    """With its progress, submission.json, and why a run that never began was told not to."""
    if not (RUN_ID.match(name) or TRIAL_ID.match(name)):
        return RunStatus(name, None, job, {}, namespace)
    run = folder_of(root, name)
    if not run.store.exists("spec.yaml"):
        return RunStatus(name, None, job, {}, namespace, stop=stop_requested(run.store))
    sweep = follow_sweep(open_sweep(root, name)) if names_sweep(name) else None
    return RunStatus(name, follow_run(run), job, read_submission(run), namespace, sweep=sweep)


def read_submission(run: Run) -> dict[str, Any]:
    """A run's submission.json, {} where it was not submitted. Raises UserError where it is no JSON object."""
    try:
        found = json.loads(run.store.read("submission.json"))
    except MissingObjectError:
        return {}
    except ValueError as error:
        raise UserError(f"{run.store.address}/submission.json is not valid JSON ({error}): delete it") from error
    return found if isinstance(found, dict) else {}


def how_to_continue(run_id: str, job: str, backend: str, submission: Mapping[str, Any]) -> str:
    """The command that continues a run or sweep where it was. backend: RunStatus.backend; submission: of an address of
    a Ray."""
    if backend == "local" and names_sweep(run_id):
        return f"visionjobs sweep {job} --sweep {run_id}"
    verb = "run" if backend == "local" else "submit"
    options = {"job": " --backend job", "ray": f" --backend ray --address {submission.get('address')}"}
    return f"visionjobs {verb} {job} --run {run_id}{options.get(backend, '')}"


def as_json(status: RunStatus, next_commands: list[str]) -> dict[str, Any]:
    """The object of `visionjobs status --json`; null where something is absent.

    run, kind, job, task, state, reasons (lines), message, backend, namespace, address (of a Ray), owner; attempt,
    attempts, epochs_done, epochs, step, steps, stage, done, total, eta_seconds, updated, best, row, gpu_hours, created,
    finished, folder (RunProgress tells what they mean); cluster: the JobState, of a Ray too; failures: what did not
    answer; next: commands. Of a sweep also sweep, metric, maximise, wanted, at_once and trials (SweepProgress); best
    is {"metric", "value", "trial"} then, and what is an epoch's or a step's is null.
    """
    known = {} if status.progress is None else asdict(status.progress)
    if status.sweep is not None:
        known |= dict.fromkeys(OF_TRIALS)
        known |= {"best": _best_trial(status.sweep), "eta_seconds": sweep_eta(status.sweep)}
        known["gpu_hours"] = status.sweep.gpu_hours
    job = status.job
    submission = status.submission
    same = ("attempt", "attempts", "epochs_done", "epochs", "step", "steps", "stage", "done", "total", "eta_seconds",
            "updated", "best", "row", "gpu_hours", "created", "finished")  # fmt: skip
    return {
        "run": status.name,
        "kind": status.kind,
        "job": job.job if job else known.get("job"),
        "task": known.get("task"),
        "state": status.state,
        "reasons": list(status.reasons()),
        "message": known.get("message"),
        "stop": known.get("stop") or status.stop,
        "backend": status.backend,
        "namespace": submission.get("namespace") if job is None or job.backend == "ray" else status.namespace,
        "address": submission.get("address"),
        "owner": (job.owner if job else None) or submission.get("owner"),
        **{key: known.get(key) for key in same},
        "folder": known.get("address"),
        "cluster": None if job is None else asdict(job),
        "failures": [f"{failure.source}: {failure.error}" for failure in status.failures],
        "next": next_commands,
    } | ({key: value for key, value in asdict(status.sweep).items() if key in OF_SWEEPS} if status.sweep else {})


def _best_trial(sweep: SweepProgress) -> dict[str, Any] | None:
    best = sweep.best
    return None if best is None else {"metric": sweep.metric, "value": best.value, "trial": best.number}
