"""`visionjobs run JOB`: train on a local Ray, as a new run or as the next attempt of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from visionjobs.cli.console import err, out, print_error, print_warning, stage_progress
from visionjobs.cli.run_view import RunView
from visionjobs.errors import FinalError, SupersededError, UserError, VisionjobsError
from visionjobs.jobfile import build_spec, find_job, load_job, with_sets
from visionjobs.runs import STOP, Run, open_run
from visionjobs.settings import Settings
from visionjobs.spec import CHANGEABLE, JobSpec, differences, is_changeable
from visionjobs.storage import Store, open_store

SAMPLES = {"classification": "wildlife", "segmentation": "camvid", "detection": "coco"}
"""Task -> the layout whose sample stands in for the job's dataset."""

DETECTOR_SIZE = (224, 224)
"""Height and width in pixels that detectors take the sample at, whose images keep their own sizes."""


def run(
    job: Annotated[str, typer.Argument(help="name of a job file in jobs/, or the path of one")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key: train.epochs=3 (may be repeated)")
    ] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="continue this run instead of starting a new one")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="use the synthetic sample of the job's dataset")] = False,
) -> None:
    """Train a job on this machine and write its run folder; its address is the last line on stdout.

    Uses the Ray that `visionjobs ray-up` started, else a private one. With --run, the stored spec and dataset count:
    only train.epochs, resources.*, limits.* and wandb.* may be changed with --set.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    if run_id is None:
        finished = run_new(settings, root, job, sets or [], sample)
    else:
        if sample:
            raise UserError("--sample and --run do not go together: a run that is continued keeps its dataset")
        finished = _continue(settings, root, job, sets or [], run_id)
    err.print(f"report {finished.store.address}/report/report.html", soft_wrap=True)
    out.print(finished.store.address)


def run_new(settings: Settings, root: Store, job: str, sets: list[str], sample: bool) -> Run:
    """Train a job as a new run, to its end. Raises typer.Exit(130) when interrupted."""
    path = find_job(job, settings.jobs)
    spec = load_job(path, sets)
    if sample:
        spec = on_drawn_sample(root, spec, sets)
    notes = []
    if sets and spec.published:
        given = ", ".join(sets)
        notes = [f"Started with {given}: the published figures are of the job file's own settings."]
    return _train(settings, root, spec, None, job, notes)


class NotOnSampleError(UserError):
    """The job has no sense on a drawn sample."""


def check_weights_for_sample(spec: JobSpec, sets: Sequence[str]) -> None:
    """Raises NotOnSampleError where nothing is trained, and the job's weights know none of the sample's classes."""
    if not spec.train.epochs and not any(item.startswith("model.weights=") for item in sets):
        raise NotOnSampleError(
            f"--sample: {spec.name} evaluates weights as they are (train.epochs is 0), and the drawn sample has other "
            "classes than theirs. Train on it: visionjobs run yolo_finetune --sample --set model.weights=random --set "
            "train.epochs=3; or give weights that know its classes: --set model.weights=FILE"
        )


def on_drawn_sample(root: Store, spec: JobSpec, sets: Sequence[str], *, dry_run: bool = False) -> JobSpec:
    """As on_sample; the sample is drawn into the storage, unless it is there or this is dry."""
    check_weights_for_sample(spec, sets)
    if not dry_run:
        from visionjobs.data.sample import ensure_sample

        with stage_progress() as on_progress:
            ensure_sample(SAMPLES[spec.task], root, on_progress)
    return on_sample(spec, sets)


def on_sample(spec: JobSpec, sets: Sequence[str]) -> JobSpec:
    """The job, with `sets` applied, on the sample of its task: at the sample's size, where the job file's is larger."""
    from visionjobs.data.catalog import SAMPLE_SUFFIX
    from visionjobs.data.layouts import LAYOUTS

    layout = SAMPLES[spec.task]
    size = LAYOUTS[layout].sample_size or DETECTOR_SIZE
    smaller = all(theirs <= ours for theirs, ours in zip(size, spec.data.size, strict=True))
    update: dict[str, Any] = {"name": f"{layout}{SAMPLE_SUFFIX}", "version": "newest"}
    if smaller and not any(item.startswith("data.size=") for item in sets):
        update["size"] = list(size)
    return spec.model_copy(update={"data": spec.data.model_copy(update=update)})


def _continue(settings: Settings, root: Store, job: str, sets: list[str], run_id: str) -> Run:
    existing = open_run(root, run_id)
    stored = existing.spec_now()
    if Path(job).stem != stored.name:
        raise UserError(f'run {run_id} is of job "{stored.name}", not of "{Path(job).stem}"')
    spec = continued_spec(stored, sets, run_id)
    tell_of_changed_file(settings, job, existing.spec())
    return _train(settings, root, spec, existing, job, [])


def tell_of_changed_file(settings: Settings, job: str, stored: JobSpec) -> None:
    """The run's own spec counts, so a file that is gone or broken by now is no obstacle."""
    try:
        path = find_job(job, settings.jobs)
        current = load_job(path).model_copy(update={"sweep": None})  # no run has one
    except UserError:
        return
    pinned = ("data.version", "model.weights", "model.sha256")
    changed = {key: pair for key, pair in differences(current, stored).items() if key not in pinned}
    if changed:
        listed = ", ".join(f"{key}: {old} there, {new} here" for key, (old, new) in changed.items())
        print_warning(f"the run's own spec counts; {path} differs from it ({listed})")


def continued_spec(stored: JobSpec, sets: list[str], run_id: str) -> JobSpec:
    """The stored spec with `sets` applied. Raises UserError, with the difference, for a key that may not change."""
    spec, refused = changed_spec(stored, sets, "run", run_id, CHANGEABLE)
    if refused:
        raise UserError(
            f"run {run_id} cannot be continued with other values than it was started with:\n{refused}\n"
            "Only train.epochs, resources.*, limits.* and wandb.* may be changed. Leave out --run to start a new run."
        )
    return spec


def changed_spec(
    stored: JobSpec, sets: list[str], what: str, name: str, allowed: Sequence[str]
) -> tuple[JobSpec, str]:  # fmt: skip
    """The stored spec of a run or sweep, as `what` says, with `sets`; and a line for each key that may not change."""
    spec = build_spec(with_sets(stored.model_dump(mode="json"), sets), f"{what} {name}", sets)
    refused = {key: pair for key, pair in differences(stored, spec).items() if not is_changeable(key, allowed)}
    return spec, "\n".join(f"  {key}: {old} in the {what}, {new} asked for" for key, (old, new) in refused.items())


@contextmanager
def telling_how_to_continue(command: Callable[[], str | None]) -> Iterator[None]:
    """Around what may be interrupted or break off: says with which command it goes on, None where nothing has begun.

    Raises typer.Exit(130) for a KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        how = f" Continue with: {told}" if (told := command()) else ""
        print_error(f"Interrupted.{how}")
        raise typer.Exit(130) from None
    except VisionjobsError as error:
        if (told := command()) and not isinstance(error, FinalError | SupersededError | UserError):
            raise type(error)(f"{error}\nContinue with: {told}") from error
        raise


def _train(settings: Settings, root: Store, spec: JobSpec, existing: Run | None, job: str, notes: list[str]) -> Run:
    from visionjobs.training.driver import check_may_start, pin_inputs, train_run

    with (
        RunView(err) as view,
        telling_how_to_continue(lambda: f"visionjobs run {job} --run {view.run_id}" if view.run_id else None),
    ):
        if existing:
            check_may_start(existing, spec)
            existing.store.delete([STOP])  # it was cancelled: whoever continues it wants it to go on
        pinned = spec if existing else pin_inputs(root, spec, settings.cache)
        return train_run(settings, root, pinned, existing, view.watcher(), notes)
