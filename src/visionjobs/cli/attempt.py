"""`visionjobs attempt RUN`: what the pods of a job run, the next attempt of a run. Not for people: hidden."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionjobs.cli.console import err, out
from visionjobs.cli.run import continued_spec
from visionjobs.cli.run_view import RunView
from visionjobs.errors import ObjectExistsError, UserError, VisionjobsError
from visionjobs.jobfile import parse_job
from visionjobs.runs import RUN_ID, Run, create_run, open_run, request_stop, stop_requested
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from visionjobs.training.run_logs import DriverLog

SPEC = "VISIONJOBS_SPEC"
"""The job as YAML: the run is made of it where the storage has none of that id (manifests applied by hand)."""


def attempt(
    run_id: Annotated[str, typer.Argument(help="id of the run")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="change a key of a run that is continued")] = None,
) -> None:
    """Train the next attempt of a run in the pod or Ray job that this is; for manifests, not for people.

    A run that is complete ends with 0 at once, one that failed for good with 3: nothing is trained twice.
    """
    from visionjobs.training.run_logs import DriverLog
    from visionjobs.training.stop import running

    settings = Settings.from_env()
    with running("driver"), closing(DriverLog()) as driver_log:
        root = open_store(settings.storage, settings.endpoint)
        run, sets = _run(root, settings, run_id), sets or []
        spec = continued_spec(run.spec_now(), sets, run_id)
        if _is_complete(run, spec):
            err.print(f"run {run_id} is complete: there is nothing to do")
        else:
            _train(settings, root, run, spec, driver_log)
    out.print(run.store.address)


def _run(root: Store, settings: Settings, run_id: str) -> Run:
    """The run, made if the storage has none of that id. Raises UserError for an id or a job that cannot be one."""
    if not RUN_ID.match(run_id):
        raise UserError(f"{run_id}: expected the id of a run, at most 47 lower-case letters, digits and '-'")
    if not root.at("runs", run_id).exists("spec.yaml"):
        _make(root, settings, run_id)
    return open_run(root, run_id)


def _make(root: Store, settings: Settings, run_id: str) -> None:
    """Of the manifest's own job. A mistake in it is noted, so that no further pod is started to find it again."""
    from visionjobs.data.catalog import find_dataset
    from visionjobs.training.driver import pin_inputs

    text, folder = os.environ.get(SPEC), root.at("runs", run_id)
    if not text:
        raise UserError(f"there is no run {run_id} in {root.address}, and {SPEC} holds no job to make it of")
    if (reason := stop_requested(folder)) is not None:
        raise VisionjobsError(f"run {run_id} is not begun, because {reason}. Put it right, and delete {folder.address}")
    try:
        spec = pin_inputs(root, parse_job(text, SPEC, "job"), settings.cache)
        manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
        create_run(root, spec, manifest.model_dump_json(indent=1), run_id)
    except ObjectExistsError:
        err.print(f"run {run_id} was made by another pod just now")
    except UserError as error:
        request_stop(folder, f"of a mistake that the next attempt would find again: {error}")
        raise


def _is_complete(run: Run, spec: JobSpec) -> bool:
    record = run.record()
    return record.get("state") == "complete" and spec.train.epochs <= record.get("epochs", 0)


def _train(settings: Settings, root: Store, run: Run, spec: JobSpec, driver_log: DriverLog) -> None:
    """One attempt, to its end. A user's mistake stops all further ones: they would only find it again."""
    from visionjobs.notify import notify
    from visionjobs.training.driver import train_run
    from visionjobs.training.place import PLACES

    backend = os.environ.get("VISIONJOBS_BACKEND", "job")
    if backend not in PLACES:
        raise UserError(f"VISIONJOBS_BACKEND={backend}: expected one of {', '.join(PLACES)}")
    _refuse_stopped(run)
    try:
        with RunView(err) as view:
            watcher = view.watcher()

            def started(run: Run, connection: Any) -> None:
                driver_log.belongs_to(run)
                if backend != "ray":  # that Ray kills 3 seconds after SIGTERM: just time to say so in the record
                    signal.signal(signal.SIGTERM, lambda *_: _asked_to_stop(run, driver_log))
                watcher.started(run, connection)

            train_run(settings, root, spec, run, replace(watcher, started=started), place=PLACES[backend])
    except KeyboardInterrupt:
        raise VisionjobsError(f"Interrupted. The next attempt of {run.id} continues it") from None
    except UserError as error:
        request_stop(run.store, f"of a mistake that the next attempt would find again: {error}")
        raise
    finally:
        if _is_over(run, spec):
            notify(run)


def _refuse_stopped(run: Run) -> None:
    reason = stop_requested(run.store)
    if reason is not None:
        raise VisionjobsError(
            f"run {run.id} is not trained further, because {reason}. Put it right, and continue with: "
            f"visionjobs submit {run.spec().name} --run {run.id}"
        )


def _asked_to_stop(run: Run, driver_log: DriverLog) -> None:
    """SIGTERM (the Ray job or the pod is being ended): stop with a checkpoint; a second one ends at once."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    attempt = run.store.at("attempts", f"{driver_log.attempt:04}")
    # Not in this handler: it may have interrupted the very client that it would use.
    threading.Thread(target=request_stop, args=(attempt, "the job was ended"), name="stop").start()


def _is_over(run: Run, spec: JobSpec) -> bool:
    """Whether no further attempt will follow by itself: complete, failed for good, stopped, or no attempts left."""
    if run.record().get("state") in ("complete", "failed") or stop_requested(run.store) is not None:
        return True
    return sum(claim.kind == "attempt" for claim in run.claims()) >= spec.limits.attempts
