"""The steps of `visionjobs submit`, whatever it submits to: telling the checks, the folder of the run or sweep, what is
next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from visionjobs.cli.console import err, print_error, print_warning
from visionjobs.cli.submit_plans import Plan
from visionjobs.cluster.apply import PerhapsAppliedError
from visionjobs.cluster.check import Check, one_line, refuse
from visionjobs.cluster.submission import TRAINING
from visionjobs.errors import ObjectExistsError, VisionjobsError
from visionjobs.runs import STOP, Run, create_run, now
from visionjobs.sweeps import create_sweep, folder_of

SUBMISSION = "submission.json"
"""In a run's folder: how it was submitted last."""

NEXT = (("status {}", "how far it is"), ("logs {} -f", "what it prints"), ("cancel {}", "end it, with a checkpoint"))


@dataclass(frozen=True)
class Options:
    """How to submit, whatever it is. backend: one of BACKENDS; address: of a running Ray; wait: until the job's end."""

    backend: str
    address: str | None
    dry_run: bool
    wait: bool


def report(checks: Sequence[Check]) -> None:
    """Warnings, and the number of those that passed. Raises for those that failed."""
    for check in checks:
        if check.ok is None:
            print_warning(one_line(check))
    refuse(checks)
    err.print(f"{sum(check.ok is True for check in checks)} checks passed")


@contextmanager
def run_folder(plan: Plan, where: Mapping[str, object]) -> Iterator[None]:
    """The folder of the run or sweep, with `where` it is submitted to, around the block that submits. Nothing of
    evaluations and imports. Raises StorageError."""
    if plan.submission.kind not in TRAINING:
        yield
        return
    note = json.dumps({**where, "code": plan.submission.code, "submitted": now()}, indent=1)
    with _new(plan, note) if plan.run is None else _continued(plan.run, note):
        yield


@contextmanager
def _new(plan: Plan, note: str) -> Iterator[None]:
    """A new folder, which is removed again where it cannot be made whole, or the block fails."""
    if plan.spec is None or plan.manifest is None:
        raise ValueError("a new run or sweep has a spec and a dataset")
    name, dataset = plan.submission.name, plan.manifest.model_dump_json(indent=1)
    run = folder_of(plan.root, name)
    try:
        if plan.submission.kind == "sweep":
            create_sweep(plan.root, plan.spec, dataset, name)
        else:
            create_run(plan.root, plan.spec, dataset, name)
        run.store.write(SUBMISSION, note)
        yield
    except (PerhapsAppliedError, ObjectExistsError):  # the run may begin; somebody else's has this id
        raise
    except BaseException:
        _remove(run)
        raise


@contextmanager
def _continued(run: Run, note: str) -> Iterator[None]:
    """The folder of a run that was there is changed when the block has submitted it, since only one of two submits at
    once does: it is not asked to stop any more."""
    try:
        yield
    except PerhapsAppliedError:
        with suppress(VisionjobsError):  # that it may be there is what must be told
            _note(run, note)
        raise
    try:
        _note(run, note)
    except VisionjobsError as error:
        raise type(error)(
            f"{error} Run {run.id} was submitted all the same. If it was cancelled before, it ends at once: submit it "
            "again then"
        ) from error


def _note(run: Run, note: str) -> None:
    run.store.delete([STOP])
    run.store.write(SUBMISSION, note)


def _remove(run: Run) -> None:
    try:
        run.store.delete([entry.key for entry in run.store.entries()])
    except VisionjobsError as error:
        print_error(f"the run folder {run.store.address} could not be removed again: {error}")


def say_submitted(plan: Plan, where: str) -> None:
    """Where it is, and what to do with it."""
    name = plan.submission.name
    err.print(f"submitted {name} to {where}", soft_wrap=True)
    for verb, what in NEXT:
        err.print(f"  visionjobs {verb.format(name)}   ({what})", soft_wrap=True)
