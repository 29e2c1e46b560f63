"""The steps of `visionjobs submit`, whatever it submits to: telling the checks, the run's folder, what is next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from visionjobs.cli.console import err, print_error, print_warning
from visionjobs.cli.submit_plans import Plan
from visionjobs.cluster.apply import PerhapsAppliedError
from visionjobs.cluster.check import Check, one_line, refuse
from visionjobs.errors import VisionjobsError
from visionjobs.runs import STOP, Run, create_run, now

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
    """The run's folder, with `where` it is submitted to, for the block that submits. One that is new is removed again
    where that fails; a run that is continued is not asked to stop any more. Nothing of evaluations and imports."""
    if plan.submission.kind != "run":
        yield
        return
    run = _open(plan)
    try:
        note = {**where, "code": plan.submission.code, "submitted": now()}
        run.store.write(SUBMISSION, json.dumps(note, indent=1))
        yield
    except PerhapsAppliedError:  # the run may begin
        raise
    except BaseException:
        if plan.run is None:
            _remove(run)
        raise


def _open(plan: Plan) -> Run:
    if plan.run is not None:
        plan.run.store.delete([STOP])
        return plan.run
    if plan.spec is None or plan.manifest is None:
        raise ValueError("a new run has a spec and a dataset")
    return create_run(plan.root, plan.spec, plan.manifest.model_dump_json(indent=1), plan.submission.name)


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
