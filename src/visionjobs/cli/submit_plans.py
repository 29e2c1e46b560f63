"""What is to be submitted: a new run, a run that is continued, an evaluation or an import, each as a Plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visionjobs.cli.console import print_warning
from visionjobs.cli.run import continued_spec, on_drawn_sample, tell_of_changed_file
from visionjobs.cli.submit_inputs import check_inputs, check_run
from visionjobs.cli.trained import open_trained
from visionjobs.cluster.check import Check, look
from visionjobs.cluster.submission import Submission, evaluate_submission, import_submission, run_submission
from visionjobs.errors import UserError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import Run, new_run_id, open_run
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import folder_of

if TYPE_CHECKING:
    from visionjobs.data.manifest import Manifest

LOOKED_AT = 20
"""Runs of a job, the newest, among which one is looked for that tells how long a checkpoint takes."""


@dataclass(frozen=True)
class Code:
    """What travels. sha256 None: nothing, the image's own code runs."""

    sha256: str | None = None
    data: bytes = b""
    commit: str | None = None


@dataclass(frozen=True)
class Plan:
    """root: the storage; address: of what it will have made, as seen from here; spec: of a run, sweep or evaluation;
    run: folder of the run or sweep that is continued; manifest: of the dataset of a new one."""

    root: Store
    submission: Submission
    checks: list[Check]
    address: str
    spec: JobSpec | None = None
    run: Run | None = None
    manifest: Manifest | None = None


def plan_new_run(
    settings: Settings, root: Store, job: str, sets: Sequence[str], *, sample: bool, dry_run: bool, code: Code
) -> Plan:
    """A job as a new run. With `sample` its dataset is drawn into the storage, unless it is there or this is dry."""
    spec = load_job(find_job(job, settings.jobs), sets)
    if sample:
        spec = on_drawn_sample(root, spec, sets, dry_run=dry_run)
    inputs = check_inputs(root, spec, settings.cache)
    run_id = new_run_id(spec.name)
    submission = run_submission(
        inputs.spec, run_id, settings, code=code.sha256, commit=code.commit,
        checkpoint_seconds=checkpoint_seconds(root, spec.name),
    )  # fmt: skip
    address = root.at("runs", run_id).address
    return Plan(root, submission, inputs.checks, address, spec=inputs.spec, manifest=inputs.manifest)


def plan_next_attempt(
    settings: Settings, root: Store, job: str | None, sets: list[str], run_id: str, code: Code
) -> Plan:
    """The next attempt of a run: its stored spec counts. Raises as `run --run` does where it may not be continued."""
    from visionjobs.training.driver import check_may_start

    run = open_run(root, run_id)
    stored = run.spec_now()
    if job is not None and Path(job).stem != stored.name:
        raise UserError(f'run {run_id} is of job "{stored.name}", not of "{Path(job).stem}"')
    spec = continued_spec(stored, sets, run_id)
    tell_of_changed_file(settings, job or stored.name, run.spec())
    check_may_start(run, spec)
    inputs = check_inputs(root, spec, settings.cache, run)
    attempts = len(run.attempts())
    submission = run_submission(
        spec, run_id, settings, sets=sets, code=code.sha256, commit=code.commit, attempt=attempts + 1,
        checkpoint_seconds=checkpoint_seconds(root, spec.name, [run]),
    )  # fmt: skip
    return Plan(root, submission, [check_run(run), *inputs.checks], run.store.address, spec=spec, run=run)


def checkpoint_seconds(root: Store, job: str, first: Sequence[Run] = ()) -> float | None:
    """How long the slowest checkpoint took, of the first of these runs, or else the newest run of the job, that
    tells."""
    prefix = f"{job.replace('_', '-')}-"
    ids = [run_id for run_id in reversed(root.folders("runs")) if run_id.startswith(prefix)][:LOOKED_AT]
    for candidate in [*first, *(Run(run_id, root.at("runs", run_id)) for run_id in ids)]:
        try:
            record = candidate.record()
        except UserError:  # of another run, and damaged: no reason not to submit this one
            continue
        if record.get("job") == job and record.get("checkpoint_seconds"):
            return float(record["checkpoint_seconds"])
    return None


def plan_evaluation(
    settings: Settings, root: Store, run_id: str, split: str | None, data: str | None, version: str | None, code: Code
) -> Plan:
    """A finished run, evaluated in a pod of its own."""
    from visionjobs.training.evaluate import choose_dataset, place

    run = open_trained(root, run_id)
    spec = run.spec_now()
    if run.metrics() is None:
        raise UserError(f"run {run_id} is not finished: there are no weights to evaluate; `visionjobs status {run_id}`")
    ref = choose_dataset(root, spec, data, version)
    if ref.manifest.task != spec.task:
        raise UserError(f"--data {data}: the dataset is for {ref.manifest.task}, and the run's task is {spec.task}")
    store, _ = place(run, spec, ref, split or ref.manifest.measured_split)
    options = {"--split": split, "--data": data, "--version": version}
    arguments = [run_id, *(part for name, value in options.items() if value for part in (name, value))]
    name = new_run_id(f"eval-{spec.name[:20].rstrip('_')}")
    submission = evaluate_submission(spec, name, arguments, settings, code=code.sha256)
    check = Check("dataset", True, f"{ref.manifest.name} {ref.manifest.version}")
    return Plan(root, submission, [check], store.address, spec=spec)


def plan_import(settings: Settings, root: Store, layout: str, source: str | None, name: str | None, code: Code) -> Plan:
    """A raw dataset in a bucket, packed in a pod without a GPU. Raises UserError for what pods cannot read."""
    from visionjobs.cli.data import checked_name
    from visionjobs.data.sample import check_layout

    check_layout(layout)
    dataset = checked_name(name or layout)
    if source is None or not source.startswith("s3://"):
        raise UserError(
            f"--import {layout} {source or ''}: give the raw files' address as s3://bucket/prefix; a folder of this "
            "machine is not seen by pods (import it here: visionjobs data import)"
        )
    submission = import_submission(
        new_run_id(f"import-{dataset[:18].rstrip('-_')}"), dataset, [layout, source, "--name", dataset], settings,
        code=code.sha256,
    )  # fmt: skip
    return Plan(root, submission, [_check_source(source)], root.at("datasets", dataset).address)


def _check_source(source: str) -> Check:
    from visionjobs.data.archive import SUFFIXES

    def find() -> Check | str:
        folder, _, file = source.rstrip("/").rpartition("/")
        if source.lower().endswith(SUFFIXES):
            there = open_store(folder).exists(file)
        else:
            there = bool(open_store(source).folders())
        if not there:
            return Check("source", False, f"{source} holds no raw files", "give an archive, or a prefix with folders")
        return source

    return look("source", find)


def warn_of_twin(plan: Plan, live: Sequence[str]) -> None:
    """Say so where one of the `live` runs, or sweeps, is of the same job with equal settings."""
    for name in live:
        try:
            other = folder_of(plan.root, name).spec()
        except UserError:  # it has not begun
            continue
        if other == plan.spec:
            print_warning(f"{name} is of the same job with the same settings, and on the cluster already")
