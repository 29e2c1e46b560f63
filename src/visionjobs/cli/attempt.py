"""`visionjobs attempt RUN`: what the pods of a job run, the next attempt of a run. Not for people: hidden."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from visionjobs.cli.console import err, out
from visionjobs.cli.run import continued_spec
from visionjobs.cli.run_view import RunView
from visionjobs.errors import MissingObjectError, ObjectExistsError, UserError, VisionjobsError
from visionjobs.jobfile import parse_job
from visionjobs.patience import patiently
from visionjobs.runs import RUN_ID, Attempt, Run, create_run, open_run, request_stop, stop_requested
from visionjobs.settings import BACKENDS, Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import Sweep, create_sweep, folder_of, names_sweep, sweep_at

SPEC = "VISIONJOBS_SPEC"
"""The job as YAML: the run is made of it where the storage has none of that id (manifests applied by hand)."""

Started = Callable[[Attempt], None]
"""Told of the attempt once it is claimed."""

log = logging.getLogger(__name__)


@dataclass
class Held:
    """The attempt that this process has claimed, None before."""

    attempt: Attempt | None = None


def attempt(
    run_id: Annotated[str, typer.Argument(help="id of the run or sweep")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="change a key of a run that is continued")] = None,
) -> None:
    """Make the next attempt of a run or a sweep in the pod or Ray job that this is; for manifests, not for people.

    A run that is complete ends with 0 at once, one that failed for good with 3: nothing is trained twice.
    """
    from visionjobs.training.run_logs import DriverLog
    from visionjobs.training.stop import refuse_told, running

    settings = Settings.from_env()
    backend = os.environ.get("VISIONJOBS_BACKEND", "job")
    if backend != "ray":  # that Ray kills 3 seconds after SIGTERM: just time to say so in the record
        signal.signal(signal.SIGTERM, _told_to_end)
    with running("driver"), closing(DriverLog()) as driver_log:
        refuse_told()
        if not RUN_ID.match(run_id):
            raise UserError(f"{run_id}: expected the id of a run, at most 47 lower-case letters, digits and '-'")
        root = open_store(settings.storage, settings.endpoint)
        folder = folder_of(root, run_id)
        patiently(lambda: _refuse_stopped(folder))
        held = Held()

        def started(claimed: Attempt) -> None:
            held.attempt = claimed
            driver_log.belongs_to(claimed)

        work = _search if names_sweep(run_id) else _train
        try:
            _check_backend(backend)
            work(settings, root, folder, sets or [], backend, started)
        except UserError as error:
            _note_mistake(folder, held, error)
            raise
        except KeyboardInterrupt:
            raise VisionjobsError(f"Interrupted. The next attempt of {run_id} continues it") from None
        finally:
            _tell_end(folder, held, backend)
    out.print(folder.store.address)


def _told_to_end(_signal: int, _frame: Any) -> None:
    """SIGTERM, because the Ray job is stopped or the pod has no hook: stop with a checkpoint. Where that was asked for
    before, by the hook or by a first SIGTERM, the time for it is over: end at once, with a record."""
    from visionjobs.training.stop import StopFile

    if not StopFile().make():
        raise KeyboardInterrupt


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise UserError(f"VISIONJOBS_BACKEND={backend}: expected one of {', '.join(BACKENDS)}")


def _search(settings: Settings, root: Store, folder: Run, sets: Sequence[str], backend: str, started: Started) -> None:
    """Make the sweep if it is not there, and run its next attempt to the end, unless it is complete."""
    from visionjobs.cli.sweep_attempt import next_attempt
    from visionjobs.tuning.driver import pin_sweep

    if not patiently(lambda: folder.store.exists("spec.yaml")):
        _make(root, settings, folder, "sweep", pin_sweep, create_sweep)
    next_attempt(settings, root, sweep_at(root, folder.id), sets, backend, started)


def _train(settings: Settings, root: Store, run: Run, sets: Sequence[str], backend: str, started: Started) -> None:
    """Make the run if it is not there, and train its next attempt to the end, unless it is complete."""
    from visionjobs.training.driver import pin_inputs, train_run
    from visionjobs.training.place import PLACES

    if not patiently(lambda: run.store.exists("spec.yaml")):
        _make(root, settings, run, "run", pin_inputs, create_run)
    spec = continued_spec(open_run(root, run.id).spec_now(), list(sets), run.id)
    if _is_complete(run, spec):
        err.print(f"run {run.id} is complete: there is nothing to do")
        return
    with RunView(err) as view:
        watcher = view.watcher()

        def begun(attempt: Attempt, connection: Any) -> None:
            started(attempt)
            watcher.started(attempt, connection)

        train_run(settings, root, spec, run, replace(watcher, started=begun), place=PLACES[backend])


def _make(
    root: Store, settings: Settings, folder: Run, what: str, pin: Callable[[Store, JobSpec, Path], JobSpec],
    create: Callable[[Store, JobSpec, str, str], Run | Sweep],
) -> None:  # fmt: skip
    """The run or the sweep, of the manifest's own job."""
    from visionjobs.data.catalog import find_dataset

    text = os.environ.get(SPEC)
    if not text:
        raise UserError(f"there is no {what} {folder.id} in {root.address}, and {SPEC} holds no job to make it of")
    spec = pin(root, parse_job(text, SPEC, "job"), settings.cache)
    manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
    try:
        create(root, spec, manifest.model_dump_json(indent=1), folder.id)
    except ObjectExistsError:
        err.print(f"{what} {folder.id} was made by another pod just now")


def _is_complete(run: Run, spec: JobSpec) -> bool:
    record = run.record()
    return record.get("state") == "complete" and spec.train.epochs <= record.get("epochs", 0)


def _refuse_stopped(run: Run) -> None:
    """Raises UserError, which no retry follows, where the run was cancelled or an attempt found a mistake."""
    reason = stop_requested(run.store)
    if reason is None:
        return
    if run.store.exists("spec.yaml"):
        how = f"continue with: visionjobs submit {run.spec().name} --run {run.id}"
    else:
        how = f"delete {run.store.address}/stop.json"
    what = "sweep" if names_sweep(run.id) else "run"
    raise UserError(f"{what} {run.id} is not trained, because {reason}. Put it right, and {how}")


def _note_mistake(run: Run, held: Held, error: UserError) -> None:
    """Stop all further attempts: they would only find it again. Not where another attempt holds the run, or where what
    is missing may be there the next time."""
    from visionjobs.training.run_logs import superseded

    if isinstance(error, MissingObjectError | ObjectExistsError):
        return
    try:
        others = superseded(held.attempt) if held.attempt else run.record().get("state") == "running"
        if not others:
            request_stop(run.store, f"of a mistake that the next attempt would find again: {error}")
    except VisionjobsError as trouble:  # what ends this attempt is what must be told
        log.warning("that it is not to be tried again could not be stored: %s", trouble)


def _tell_end(run: Run, held: Held, backend: str) -> None:
    """Notify once: by the attempt that ended it, or that found why it cannot begin."""
    from visionjobs.notify import notify
    from visionjobs.training.run_logs import superseded

    try:
        if held.attempt is not None:
            if not superseded(held.attempt) and (backend == "ray" or _is_over(run)):  # no retry follows on such a Ray
                notify(run)
        elif (reason := stop_requested(run.store)) is not None:
            notify(run, reason)
    except VisionjobsError as trouble:
        log.warning("how it ended could not be told: %s", trouble)


def _is_over(run: Run) -> bool:
    """Whether no further attempt will follow by itself: complete, failed for good, stopped, or no attempts left."""
    if run.record().get("state") in ("complete", "failed") or stop_requested(run.store) is not None:
        return True
    return len(run.attempts()) >= run.spec_now().limits.attempts
