"""`visionjobs sweep JOB`: search a job's hyperparameters on a local Ray, as a new sweep or a continued one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionjobs.cli.console import err, out
from visionjobs.cli.run import changed_spec, on_drawn_sample, telling_how_to_continue
from visionjobs.errors import UserError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import STOP
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import Sweep, open_sweep, section_of

if TYPE_CHECKING:
    from visionjobs.sweep_progress import SweepProgress

CHANGEABLE = ("sweep.trials", "sweep.at_once", "resources.", "limits.", "wandb.")
"""What may change when a sweep is continued: keys, or sections that end with a dot. The trials must stay comparable."""


def sweep(
    job: Annotated[str, typer.Argument(help="name of a job file in jobs/, or the path of one")],
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="number of trials, instead of sweep.trials")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key: train.epochs=3, sweep.at_once=2 (may be repeated)")
    ] = None,
    sweep_id: Annotated[
        str | None, typer.Option("--sweep", metavar="ID", help="continue this sweep instead of starting a new one")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="use the synthetic sample of the job's dataset")] = False,
) -> None:
    """Search a job's hyperparameters on this machine; the address of the sweep's folder is the last line on stdout.

    What is searched stands in the job file's sweep: section. Trial 0 is the job as it is; every trial is a run. With
    --sweep, finished trials are not run again, and the stored spec and dataset count: only the number of trials,
    sweep.at_once, resources.*, limits.* and wandb.* may be changed.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    changes = with_samples(sets, samples)
    if sweep_id is None:
        finished = _run(settings, root, new_sweep_spec(settings, root, job, changes, sample=sample), None, job)
    else:
        if sample:
            raise UserError("--sample and --sweep do not go together: a sweep that is continued keeps its dataset")
        existing = open_sweep(root, sweep_id)
        finished = _run(settings, root, continued_spec_of(existing, job, changes), existing, job)
    _show_end(finished)
    out.print(finished.store.address)


def with_samples(sets: Sequence[str] | None, samples: int | None) -> list[str]:
    """The changes of --set, and that of --samples."""
    return [*(sets or []), *([f"sweep.trials={samples}"] if samples else [])]


def new_sweep_spec(
    settings: Settings, root: Store, job: str, sets: Sequence[str], *, sample: bool, dry_run: bool = False
) -> JobSpec:
    """The job file's spec, with `sets`, perhaps on the sample of its dataset, which is made unless it is there or this
    is dry. Raises UserError for a job without a sweep section."""
    spec = load_job(find_job(job, settings.jobs), sets, sweep=True)
    section_of(spec)
    return on_drawn_sample(root, spec, sets, dry_run=dry_run) if sample else spec


def continued_spec_of(existing: Sweep, job: str, sets: list[str]) -> JobSpec:
    """The stored spec of a sweep of `job`, with `sets`. Raises UserError for another job, or another search."""
    stored = existing.spec()
    if Path(job).stem != stored.name:
        raise UserError(f'sweep {existing.id} is of job "{stored.name}", not of "{Path(job).stem}"')
    return continued_sweep_spec(stored, sets, existing.id)


def continued_sweep_spec(stored: JobSpec, sets: list[str], sweep_id: str) -> JobSpec:
    """`stored` with `sets` applied. Raises UserError, with the difference, for a key that may not change."""
    spec, refused = changed_spec(stored, sets, "sweep", sweep_id, CHANGEABLE)
    if refused:
        raise UserError(
            f"sweep {sweep_id} cannot be continued with other values than it was started with, since its trials would "
            f"not be comparable:\n{refused}\nOnly sweep.trials (--samples), sweep.at_once, resources.*, limits.* and "
            "wandb.* may be changed. Leave out --sweep to start a new sweep."
        )
    return spec


def _run(settings: Settings, root: Store, spec: JobSpec, existing: Sweep | None, job: str) -> Sweep:
    from visionjobs.cli.sweep_view import SweepView
    from visionjobs.tuning.driver import check_may_go_on, pin_sweep, run_sweep

    with (
        SweepView(err) as view,
        telling_how_to_continue(lambda: f"visionjobs sweep {job} --sweep {view.sweep_id}" if view.sweep_id else None),
    ):
        if existing:
            check_may_go_on(existing, spec)
            existing.store.delete([STOP])  # it was cancelled: whoever continues it wants it to go on
        pinned = spec if existing else pin_sweep(root, spec, settings.cache)
        return run_sweep(settings, root, pinned, existing, view.watcher())


def _show_end(finished: Sweep) -> None:
    """The best configuration as a job file, its weights and reports."""
    from visionjobs.sweep_progress import follow_sweep

    progress: SweepProgress = follow_sweep(finished)
    if (best := progress.best) is None:
        return
    (key,) = (entry.key for entry in finished.store.entries("best"))
    err.print(f"\nbest: trial {best.number}, {progress.metric} {best.value:.4g}, as a job file:\n")
    err.print(finished.store.read(key).decode(), markup=False, highlight=False, soft_wrap=True)
    for name, address in {
        "job file": f"{finished.store.address}/{key}",
        "weights": f"{best.address}/weights/{progress.job}.pth",
        "its report": f"{best.address}/report/report.html",
        "report": f"{finished.store.address}/report/report.html",
    }.items():
        err.print(f"{name:<11}{address}", markup=False, soft_wrap=True)
